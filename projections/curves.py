"""The curves: the steps in buckets of growing width, so that a chart over ten million is one range.

Pure arithmetic. The partial rows of an append are merged into the `rollup` table inside the appending
transaction (`db.rollups`), so a chart never lags behind the log and never scans it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from events.types import Recorded, StepsCompleted

SPEED = "tokens_per_sec"
METRICS = ("loss", "grad_norm", "learning_rate", SPEED, "penalty_mass")
BASE = 64
WHOLE = 1  # the finest level of the curve over all runs; below it the single steps are few
LEVELS = 9  # widths 64, 256, … 4,194,304 steps
WIDTHS: tuple[int, ...] = tuple(BASE * 4**level for level in range(LEVELS))

#: n, n_nonfinite, sum, min, max, last
Summary = tuple[int, int, float, float | None, float | None, float | None]
#: metric, lvl, bucket, run, attempt, n, n_nonfinite, sum, min, max, last, last_step
Partial = tuple[str, int, int, str, int, int, int, float, float | None, float | None, float | None, int]


@dataclass(frozen=True, slots=True)
class Bucket:
    """Consecutive global steps of one metric; `nonfinite` counts NaN and Inf, which min to last leave out."""

    first_step: int
    last_step: int
    n: int
    nonfinite: int
    min: float | None
    max: float | None
    mean: float | None
    last: float | None


def width(level: int) -> int:
    """Steps of one bucket."""
    return WIDTHS[level]


def values(steps: StepsCompleted, metric: str) -> list[float | int | None]:
    """One column; tokens per second is made of two."""
    if metric != SPEED:
        return steps.columns.get(metric, [None] * steps.n)
    tokens, seconds = steps.columns.get("tokens"), steps.columns.get("seconds")
    if tokens is None or seconds is None:
        return [None] * steps.n
    return [t / s if t is not None and s else None for t, s in zip(tokens, seconds, strict=True)]


def partials(facts: Iterable[Recorded]) -> list[Partial]:
    """The roll-up rows that these facts add, every metric at every level."""
    rows: list[Partial] = []
    for recorded in facts:
        steps = recorded.event
        if isinstance(steps, StepsCompleted):
            for metric, column in columns(steps).items():
                rows += _rows(steps, metric, column)
    return rows


def columns(steps: StepsCompleted) -> dict[str, list[float | int | None]]:
    """The columns of these steps by metric, but for those it does not have."""
    found = {metric: values(steps, metric) for metric in METRICS if metric in steps.columns}
    return found | ({SPEED: values(steps, SPEED)} if "seconds" in steps.columns else {})


def _rows(steps: StepsCompleted, metric: str, column: Sequence[float | int | None]) -> list[Partial]:
    rows: list[Partial] = []
    first, n, run, attempt = steps.first_global_step, len(column), steps.run, steps.attempt
    last = first + n - 1
    known: dict[tuple[int, int], Summary | None] = {}  # a cut is one of several levels
    for level, size in enumerate(WIDTHS):
        if first // size == last // size:  # all steps lie in one bucket, and so on every level above
            if (whole := summary(column)) is not None:
                rows += [
                    (metric, above, first // WIDTHS[above], run, attempt, *whole, last)
                    for above in range(level, LEVELS)
                ]
            break
        start = 0
        while start < n:
            bucket = (first + start) // size
            end = min(n, (bucket + 1) * size - first)
            if (start, end) not in known:
                known[start, end] = summary(column[start:end])
            if (found := known[start, end]) is not None:
                rows.append((metric, level, bucket, run, attempt, *found, first + end - 1))
            start = end
    return rows


def summary(part: Sequence[float | int | None]) -> Summary | None:
    """What a roll-up row says of these values; None: there are none."""
    try:
        total = math.fsum(part)  # type: ignore[arg-type]  # None: it tries, and says so
    except (TypeError, ValueError, OverflowError):
        total = math.nan
    if math.isfinite(total) and part:  # all of them are, as nearly always
        return len(part), 0, total, min(part), max(part), part[-1]  # type: ignore[type-var]
    known = [v for v in part if v is not None]
    finite = [v for v in known if math.isfinite(v)]
    if not known:
        return None
    return (
        len(finite), len(known) - len(finite), math.fsum(finite), min(finite, default=None),
        max(finite, default=None), finite[-1] if finite else None,
    )  # fmt: skip


class Strand(Struct, frozen=True, gc=False):
    """The steps of one trainer process in a row, as the table `strand` has them."""

    seq: int  # of its first steps
    run: str
    attempt: int
    first_step: int  # global
    last_step: int
    turn: int  # seq of the newest strand up to this one that did steps again


def follow(before: Strand | None, seq: int, steps: StepsCompleted) -> Strand:
    """The strand that these steps belong to, when those before them belonged to `before`."""
    first, last = steps.first_global_step, steps.first_global_step + steps.n - 1
    if before is None or first <= before.last_step:
        return Strand(seq, steps.run, steps.attempt, first, last, seq)
    if (steps.run, steps.attempt) == (before.run, before.attempt):
        return replace(before, last_step=last)
    return Strand(seq, steps.run, steps.attempt, first, last, before.turn)


def whole(rows: Iterable[Partial], turn: int) -> list[tuple[Any, ...]]:
    """What the same steps add to the curve of all runs: a row is like theirs, `turn` for run and attempt."""
    return [(*row[:3], turn, *row[5:]) for row in rows if row[1] >= WHOLE]


def merged(live: Sequence[Any] | None, parts: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    """What a row holds (n to last_step) after these parts, added one by one: its sum has SQLite's bits.

    `live`: what it holds before, None: there is no such row.
    """
    if live is None and len(parts) == 1:
        return tuple(parts[0])
    columns = list(zip(*([live, *parts] if live else parts), strict=True))
    if None in columns[3]:  # some hold no finite value
        columns[3:6] = [tuple(v for v in some if v is not None) or (None,) for some in columns[3:6]]
    n, nonfinite, sums, lows, highs, lasts, steps = columns
    # `sum` need not add plainly, from left to right (from Python 3.12 on it does not)
    return sum(n), sum(nonfinite), reduce(add, sums), min(lows), max(highs), lasts[-1], steps[-1]


def level_for(first_step: int, last_step: int, points: int) -> int | None:
    """The finest level with at most `points` buckets in the range; None: the single steps are few enough."""
    span = max(1, last_step - first_step + 1)
    if span <= points:
        return None
    for level in range(LEVELS):
        if span / width(level) <= points:
            return level
    return LEVELS - 1


def buckets(rows: Iterable[Partial]) -> list[Bucket]:
    """Stored rows as buckets, in order of steps; rows of the same bucket (runs, attempts) become one."""
    merged: dict[int, list[Partial]] = {}
    for row in rows:
        merged.setdefault(row[2], []).append(row)
    return [_merge(group) for _, group in sorted(merged.items())]


def _merge(group: list[Partial]) -> Bucket:
    size = width(group[0][1])
    n = sum(row[5] for row in group)
    newest = max(group, key=lambda row: (row[11], row[4]))
    return Bucket(
        first_step=group[0][2] * size,
        last_step=newest[11],
        n=n,
        nonfinite=sum(row[6] for row in group),
        min=min((row[8] for row in group if row[8] is not None), default=None),
        max=max((row[9] for row in group if row[9] is not None), default=None),
        mean=sum(row[7] for row in group) / n if n else None,
        last=newest[10],
    )


def points(facts: Iterable[Recorded], metric: str) -> list[Bucket]:
    """Single steps, one bucket each; of a step done twice the newest attempt counts."""
    newest: dict[int, tuple[int, float | int | None]] = {}
    for recorded in facts:
        steps = recorded.event
        if isinstance(steps, StepsCompleted):
            for n, value in enumerate(values(steps, metric)):
                at = steps.first_global_step + n
                if at not in newest or newest[at][0] <= steps.attempt:
                    newest[at] = (steps.attempt, value)
    return [_single(at, value) for at, (_, value) in sorted(newest.items()) if value is not None]


def _single(at: int, value: float | int) -> Bucket:
    if math.isfinite(value):
        return Bucket(at, at, 1, 0, value, value, value, value)
    return Bucket(at, at, 0, 1, None, None, None, None)
