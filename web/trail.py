"""The trail: the columns of a chart, kept up to date step by step, of one run or of the whole history.

A column keeps the smallest and largest value of its steps, so no spike is lost however long the history is.
A step may be done more than once: by a later attempt after a crash, or on another branch after a restore. The
newest doing is the curve; what it takes the place of is kept apart, never averaged with it.
"""

from dataclasses import dataclass
from typing import Any

from db import rollups
from events.log import Log
from events.types import Recorded, StepsCompleted
from projections import curves
from web.columns import COLUMNS, Column, column_of, is_too_narrow, put

EARLIER = 16  # stretches that were done again, the newest; more would hide the curve
LAST_STEP = 10**15
SINGLE_STEPS = 8192  # up to here a chart begins from single steps; beyond, from the roll-up rows


#: Columns of every metric by bucket.
Buckets = dict[str, dict[int, Column]]
#: Roll-up rows by strand, as `Trail._name` has it.
Strands = dict[tuple[str, int], list[Any]]


@dataclass(frozen=True, slots=True)
class Span:
    """Global steps from `first` to `last`, both within."""

    first: int
    last: int


class Trail:
    """Columns of every metric, `width` global steps each (a power of two, as the roll-ups have).

    `to`: nothing behind this position of the log is taken in.
    """

    def __init__(self, log: Log, run: str | None = None, to: int | None = None) -> None:
        self.run, self.to = run, to
        self.span: Span | None = None  # what alone is shown
        self.end: int | None = None  # the last step there is, if it may lie behind what is shown
        self.until: int | None = to  # what was measured and marked behind it does not belong here
        self.width = 1
        self.seq = 0  # facts up to here are in
        self.first_step: int | None = None
        self.last_step = 0
        self._log = log
        self._columns: Buckets = {metric: {} for metric in curves.METRICS}
        self._earlier: list[Buckets] = []
        self._strand: tuple[str, int] | None = None  # (run, attempt) of the newest steps
        self._floor = 0  # steps before it are in from the roll-ups
        self._ceiling = LAST_STEP

    def columns(self, metric: str) -> list[Column]:
        """In order of steps."""
        return _ordered(self._columns[metric])

    def earlier(self, metric: str) -> list[list[Column]]:
        """The stretches that were done again since, oldest first; whole columns, so the border is rough."""
        return [_ordered(found[metric]) for found in self._earlier if found[metric]]

    def shows(self, step: int) -> bool:
        """Does this global step lie within what is shown?"""
        return self.span is None or self.span.first <= step <= self.span.last

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
            while is_too_narrow(first, last, self.width):
                self.width *= 2
            return
        level = max(level, self._finest)
        reader = self._log.reader
        reader.execute("BEGIN")  # head, strands and roll-ups of one instant
        try:
            self.width, self.seq = curves.width(level), self._log.head()
            order = rollups.strands(reader, self.run, self.to)
            rows = self._read(level, first, last)
            if self.to is not None:
                rows = self._cut(rows, level, order, newest)
        finally:
            reader.execute("COMMIT")
        strands: Strands = {}
        for row in rows:
            strands.setdefault((row[3], row[4]), []).append(row)
        starts: dict[tuple[str, int], int] = {}
        for row in order:
            starts.setdefault(self._name(row), row[3])
        for strand in starts:
            if strand in strands:
                self._follow(strand, starts[strand])
                self._take(strands[strand])
        self._widen()

    @property
    def _by_turn(self) -> bool:
        """Are the rows those over all runs, which tell turns apart? Others tell attempts of runs apart."""
        return self.run is None

    @property
    def _finest(self) -> int:
        return curves.WHOLE if self._by_turn else 0

    def _name(self, strand: Any) -> tuple[str, int]:
        """How the roll-up rows name the one they are of: a run's attempt, or a turn of the whole history."""
        return ("", strand[5]) if self._by_turn else (strand[1], strand[2])

    def _read(self, level: int, first: int, last: int) -> list[Any]:
        """The roll-up rows of every metric that hold any of these steps."""
        reader, size = self._log.reader, curves.width(level)
        found = []
        for metric in curves.METRICS:
            if self._by_turn:
                found += rollups.read_whole(reader, metric, level, first // size, last // size)
            else:
                found += rollups.read(reader, metric, level, first // size, last // size, self.run)
        return found

    def _cut(self, rows: list[Any], level: int, order: list[Any], newest: Recorded) -> list[Any]:
        """The rows as they were at `to`: in place of the bucket that was growing then, finer ones and steps.

        History only goes forward inside a strand, so all before that bucket is as it was, and finer buckets
        tell of it up to the finest that was growing; from there on the single steps are read from the log.
        """
        assert isinstance(newest.event, StepsCompleted)
        last = newest.event.first_global_step + newest.event.n - 1
        reached = rollups.newest_strand(self._log.reader, self.to, self.run)
        if reached is None:
            return []  # an older log's history is still being folded
        strand = self._name(reached)
        known = {self._name(row) for row in order}
        self._floor = last // self.width * self.width
        kept = [
            row for row in rows
            if (row[3], row[4]) in known and ((row[3], row[4]) != strand or row[2] * self.width < self._floor)
        ]  # fmt: skip
        for finer in range(level - 1, self._finest - 1, -1):
            size, floor = curves.width(finer), self._floor
            self._floor = last // size * size
            if self._floor > floor:
                kept += [r for r in self._read(finer, floor, self._floor - 1) if (r[3], r[4]) == strand]
        stream, n = None if self.run is None else f"run/{self.run}", 4
        while True:  # back to the fact with the first step behind what the rows tell
            found = self._log.last(n, StepsCompleted, stream=stream, to=self.to)
            growing = [fact for fact in found if self._holds(fact, reached)]
            if len(growing) < len(found) or len(found) < n:
                break
            n *= 4
        self.seq = growing[0].seq - 1
        return kept

    def _holds(self, recorded: Recorded, strand: Any) -> bool:
        """Has a StepsCompleted of this strand steps from the floor on?"""
        event = recorded.event
        assert isinstance(event, StepsCompleted)
        turn = self._by_turn
        mine = recorded.seq >= strand[5] if turn else (event.run, event.attempt) == self._name(strand)
        return mine and event.first_global_step + event.n > self._floor

    def _follow(self, strand: tuple[str, int], first: int) -> None:
        """Steps of a trainer process follow, beginning with the global step `first`."""
        if strand == self._strand:
            return
        self._strand = strand
        if first > self.last_step:
            return  # nothing is done again, as nearly always
        again: Buckets = {}
        for metric, columns in self._columns.items():
            near = range(first // self.width, self.last_step // self.width + 1)
            moved = [bucket for bucket in near if bucket in columns and columns[bucket].first_step >= first]
            again[metric] = {bucket: columns.pop(bucket) for bucket in moved}
        if any(again.values()):
            self._earlier = [*self._earlier[1 - EARLIER :], again]

    def _take(self, rows: list[Any]) -> None:
        """Roll-up rows of one strand, of whatever levels; none of them holds a step of another."""
        for row in rows:
            first = row[2] * curves.width(row[1])
            put(self._columns[row[0]], first // self.width, column_of(first, row[11], row[5:11]))
            self._reach(first, row[11])

    def _reach(self, first: int, last: int) -> None:
        self.first_step = first if self.first_step is None else min(self.first_step, first)
        self.last_step = max(self.last_step, last)

    def _add(self, steps: StepsCompleted) -> None:
        first = steps.first_global_step
        self._follow((steps.run, steps.attempt), max(first, self._floor))
        for metric, column in curves.columns(steps).items():
            start, stop = max(0, self._floor - first), min(steps.n, self._ceiling - first + 1)
            while start < stop:
                bucket = (first + start) // self.width
                end = min(stop, (bucket + 1) * self.width - first)
                found = curves.summary(column[start:end])
                if found is not None:
                    put(self._columns[metric], bucket, column_of(first + start, first + end - 1, found))
                start = end
        self._reach(max(first, self._floor), min(first + steps.n - 1, self._ceiling))
        self._widen()

    def _widen(self) -> None:
        while is_too_narrow(self.first_step or 0, self.last_step, self.width):
            self.width *= 2
            for found in (self._columns, *self._earlier):
                for metric, columns in found.items():
                    wider: dict[int, Column] = {}
                    for bucket, column in columns.items():
                        put(wider, bucket // 2, column)
                    found[metric] = wider


def _ordered(columns: dict[int, Column]) -> list[Column]:
    return [columns[bucket] for bucket in sorted(columns)]
