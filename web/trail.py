"""The trail: the columns of a chart, kept up to date step by step, of one run or of the whole history.

A column keeps the smallest and largest value of its steps, so no spike is lost however long the history is.
"""

import math
from dataclasses import dataclass
from typing import Any

from db import rollups
from events.log import Log
from events.types import StepsCompleted
from projections import curves

COLUMNS = 240  # the most a chart shows; reaching it doubles the width of every column
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


class Trail:
    """Columns of every metric, `width` global steps each (a power of two, as the roll-ups have)."""

    def __init__(self, log: Log, run: str | None = None) -> None:
        self.run = run
        self.width = 1
        self.seq = 0  # facts up to here are in
        self.first_step: int | None = None
        self.last_step = 0
        self._log = log
        self._columns: dict[str, dict[int, Column]] = {metric: {} for metric in curves.METRICS}

    def columns(self, metric: str) -> list[Column]:
        """In order of steps."""
        found = self._columns[metric]
        return [found[bucket] for bucket in sorted(found)]

    def catch_up(self) -> None:
        """Take in what the log has got since."""
        if self.seq == 0:
            self._begin()
        stream = None if self.run is None else f"run/{self.run}"
        for recorded in self._log.read(self.seq, types=(StepsCompleted,), stream=stream):
            if isinstance(recorded.event, StepsCompleted):
                self._add(recorded.event)
            self.seq = recorded.seq

    def _begin(self) -> None:
        stream = None if self.run is None else f"run/{self.run}"
        newest = self._log.newest(StepsCompleted, stream=stream)
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
        for metric, found in rows.items():
            self._take(metric, found)
        self._widen()

    def _take(self, metric: str, rows: list[Any]) -> None:
        for bucket in curves.buckets(rows):
            column = Column(bucket.first_step, bucket.last_step, bucket.n, bucket.nonfinite)
            if bucket.mean is not None and bucket.min is not None and bucket.max is not None:
                column.total, column.low, column.high = bucket.mean * bucket.n, bucket.min, bucket.max
            self._columns[metric][bucket.first_step // self.width] = column
            self._reach(bucket.first_step, bucket.last_step)

    def _reach(self, first: int, last: int) -> None:
        self.first_step = first if self.first_step is None else min(self.first_step, first)
        self.last_step = max(self.last_step, last)

    def _add(self, steps: StepsCompleted) -> None:
        first = steps.first_global_step
        for metric, columns in self._columns.items():
            for n, value in enumerate(curves.values(steps, metric)):
                if value is None:
                    continue
                at = first + n
                column = columns.setdefault(at // self.width, Column(at, at))
                if math.isfinite(value):
                    column.add(Column(at, at, 1, 0, value, value, value))
                else:
                    column.add(Column(at, at, 0, 1))
        self._reach(first, first + steps.n - 1)
        self._widen()

    def _widen(self) -> None:
        while (self.last_step - (self.first_step or 0)) // self.width >= COLUMNS:
            self.width *= 2
            for metric, columns in self._columns.items():
                wider: dict[int, Column] = {}
                for bucket, column in columns.items():
                    if bucket // 2 in wider:
                        wider[bucket // 2].add(column)
                    else:
                        wider[bucket // 2] = column
                self._columns[metric] = wider
