"""The trail: the columns of a chart, kept up to date step by step, of one run or of the whole history.

A column keeps the smallest and largest value of its steps, so no spike is lost however long the history is.
A step may be done more than once: by a later attempt after a crash, or on another branch after a restore. The
newest doing is the curve; what it takes the place of is kept apart, never averaged with it.
"""

import math
from dataclasses import dataclass
from typing import Any

from db import rollups
from events.log import Log
from events.types import AttemptStarted, StepsCompleted
from projections import curves

COLUMNS = 240  # the most a chart shows; reaching it doubles the width of every column
EARLIER = 16  # stretches that were done again, the newest; more would hide the curve
SINGLE_STEPS = 8192  # up to here a chart begins from single steps; beyond, from the roll-up rows


@dataclass(slots=True)
class Column:
    """`n` finite values between two global steps; `nonfinite` counts NaN and Inf, left out of the others."""

    first_step: int
    last_step: int
    n: int = 0
    nonfinite: int = 0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    @property
    def mean(self) -> float | None:
        return self.total / self.n if self.n else None

    def add(self, other: "Column") -> None:
        self.first_step = min(self.first_step, other.first_step)
        self.last_step = max(self.last_step, other.last_step)
        self.n += other.n
        self.nonfinite += other.nonfinite
        self.total += other.total
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)


#: Columns of every metric by bucket.
Buckets = dict[str, dict[int, Column]]
#: Roll-up rows by trainer process: (run, attempt) → rows.
Strands = dict[tuple[str, int], list[Any]]


class Trail:
    """Columns of every metric, `width` global steps each (a power of two, as the roll-ups have).

    `to`: nothing behind this position of the log is taken in.
    """

    def __init__(self, log: Log, run: str | None = None, to: int | None = None) -> None:
        self.run, self.to = run, to
        self.width = 1
        self.seq = 0  # facts up to here are in
        self.first_step: int | None = None
        self.last_step = 0
        self._log = log
        self._columns: Buckets = {metric: {} for metric in curves.METRICS}
        self._earlier: list[Buckets] = []
        self._strand: tuple[str, int] | None = None  # (run, attempt) of the newest steps
        self._floor = 0  # steps before it are in from the roll-ups

    def columns(self, metric: str) -> list[Column]:
        """In order of steps."""
        return _ordered(self._columns[metric])

    def earlier(self, metric: str) -> list[list[Column]]:
        """The stretches that were done again since, oldest first; whole columns, so the border is rough."""
        return [_ordered(found[metric]) for found in self._earlier if found[metric]]

    def catch_up(self) -> None:
        """Take in what the log has got since."""
        if self.seq == 0:
            self._begin()
        stream = None if self.run is None else f"run/{self.run}"
        for recorded in self._log.read(self.seq, to=self.to, types=(StepsCompleted,), stream=stream):
            if isinstance(recorded.event, StepsCompleted):
                self._add(recorded.event)
            self.seq = recorded.seq

    def _begin(self) -> None:
        stream = None if self.run is None else f"run/{self.run}"
        newest = self._log.newest(StepsCompleted, stream=stream, to=self.to)
        if newest is None or not isinstance(newest.event, StepsCompleted):
            return
        last = newest.event.first_global_step + newest.event.n - 1
        begin = newest.event.first_global_step - newest.event.first_step + 1
        first = 1 if self.run is None else begin
        level = curves.level_for(first, last, COLUMNS)
        if level is None or last - first < SINGLE_STEPS:
            return
        reader = self._log.reader
        reader.execute("BEGIN")  # head and roll-ups of one instant
        try:
            head = self._log.head()
            size = curves.width(level)
            rows = {
                metric: rollups.read(reader, metric, level, first // size, last // size + 1, self.run)
                for metric in curves.METRICS
            }
        finally:
            reader.execute("COMMIT")
        self.width, self.seq = size, head
        strands: Strands = {}
        for found in rows.values():
            for row in found:
                strands.setdefault((row[3], row[4]), []).append(row)
        starts = self._starts()
        if self.to is not None:
            strands = self._cut(strands, starts, newest.event)
        in_order = [strand for strand in starts if strand in strands]
        for strand in (*in_order, *(strands.keys() - starts.keys())):
            self._follow(strand, starts.get(strand, self.last_step) + 1)
            for metric in curves.METRICS:
                self._take(metric, [row for row in strands[strand] if row[0] == metric])
        self._widen()

    def _cut(self, strands: Strands, starts: dict[tuple[str, int], int], last: StepsCompleted) -> Strands:
        """The rows as they were at `to`; the bucket that was growing then comes from single steps.

        A trainer process only goes forward, so all before that bucket is as it was; what began later is out.
        """
        newest, order = (last.run, last.attempt), list(starts)
        begun = set(order[: order.index(newest) + 1]) if newest in starts else {newest}
        bucket = (last.first_global_step + last.n - 1) // self.width
        self._floor = bucket * self.width
        stream, n = f"run/{last.run}", 64
        while True:  # back to the fact with the first step of that bucket
            found = self._log.last(n, StepsCompleted, stream=stream, to=self.to)
            growing = [r for r in found if _holds(r.event, newest, self._floor)]
            if len(growing) < len(found) or len(found) < n:
                break
            n *= 4
        self.seq = growing[0].seq - 1
        kept = {strand: rows for strand, rows in strands.items() if strand in begun}
        kept[newest] = [row for row in kept.get(newest, []) if row[2] < bucket]
        return kept

    def _starts(self) -> dict[tuple[str, int], int]:
        """(run, attempt) → the global step it began after, in the log's order."""
        facts = (recorded.event for recorded in self._log.read(to=self.to, types=(AttemptStarted,)))
        return {(e.run, e.attempt): e.global_step for e in facts if isinstance(e, AttemptStarted)}

    def _follow(self, strand: tuple[str, int], first: int) -> None:
        """Steps of a trainer process follow, beginning with the global step `first`."""
        if strand == self._strand:
            return
        self._strand = strand
        if first > self.last_step:
            return  # nothing is done again, as nearly always
        again: Buckets = {}
        for metric, columns in self._columns.items():
            moved = [bucket for bucket, column in columns.items() if column.first_step >= first]
            again[metric] = {bucket: columns.pop(bucket) for bucket in moved}
        if any(again.values()):
            self._earlier = [*self._earlier[1 - EARLIER :], again]

    def _take(self, metric: str, rows: list[Any]) -> None:
        for bucket in curves.buckets(rows):
            column = Column(bucket.first_step, bucket.last_step, bucket.n, bucket.nonfinite)
            if bucket.mean is not None and bucket.min is not None and bucket.max is not None:
                column.total, column.low, column.high = bucket.mean * bucket.n, bucket.min, bucket.max
            _put(self._columns[metric], bucket.first_step // self.width, column)
            self._reach(bucket.first_step, bucket.last_step)

    def _reach(self, first: int, last: int) -> None:
        self.first_step = first if self.first_step is None else min(self.first_step, first)
        self.last_step = max(self.last_step, last)

    def _add(self, steps: StepsCompleted) -> None:
        first = steps.first_global_step
        self._follow((steps.run, steps.attempt), max(first, self._floor))
        for metric, columns in self._columns.items():
            for n, value in enumerate(curves.values(steps, metric)):
                at = first + n
                if value is None or at < self._floor:
                    continue
                column = columns.setdefault(at // self.width, Column(at, at))
                if math.isfinite(value):
                    column.add(Column(at, at, 1, 0, value, value, value))
                else:
                    column.add(Column(at, at, 0, 1))
        self._reach(max(first, self._floor), first + steps.n - 1)
        self._widen()

    def _widen(self) -> None:
        while (self.last_step - (self.first_step or 0)) // self.width >= COLUMNS:
            self.width *= 2
            for found in (self._columns, *self._earlier):
                for metric, columns in found.items():
                    wider: dict[int, Column] = {}
                    for bucket, column in columns.items():
                        _put(wider, bucket // 2, column)
                    found[metric] = wider


def _holds(event: Any, strand: tuple[str, int], floor: int) -> bool:
    """Has a StepsCompleted of this trainer process steps from `floor` on?"""
    last: int = event.first_global_step + event.n - 1
    return (event.run, event.attempt) == strand and last >= floor


def _ordered(columns: dict[int, Column]) -> list[Column]:
    return [columns[bucket] for bucket in sorted(columns)]


def _put(columns: dict[int, Column], bucket: int, column: Column) -> None:
    if bucket in columns:
        columns[bucket].add(column)
    else:
        columns[bucket] = column
