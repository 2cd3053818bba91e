"""The columns of a chart: so many global steps each, with the smallest and largest of their values."""

import math
from dataclasses import dataclass

from projections import curves

COLUMNS = 240  # the most a chart shows; reaching it doubles the width of every column


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
    last: float | None = None  # the finite value that was added last

    @property
    def mean(self) -> float | None:
        return self.total / self.n if self.n else None

    def add(self, other: "Column") -> None:
        self.last = self.last if other.last is None else other.last
        self.first_step = min(self.first_step, other.first_step)
        self.last_step = max(self.last_step, other.last_step)
        self.n += other.n
        self.nonfinite += other.nonfinite
        self.total += other.total
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)


def is_too_narrow(first_step: int, last_step: int, width: int) -> bool:
    """Would there be more columns than a chart shows?"""
    return (last_step - first_step) // width >= COLUMNS


def column_of(first_step: int, last_step: int, found: curves.Summary) -> Column:
    """The column of these steps."""
    n, nonfinite, total, low, high, last = found
    return Column(
        first_step, last_step, n, nonfinite, total, math.inf if low is None else low,
        -math.inf if high is None else high, last,
    )  # fmt: skip


def put(columns: dict[int, Column], bucket: int, column: Column) -> None:
    """Add a column where its bucket stands."""
    if bucket in columns:
        columns[bucket].add(column)
    else:
        columns[bucket] = column
