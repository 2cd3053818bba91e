"""The curves: the steps in buckets of growing width, so that a chart over ten million is one range.

Pure arithmetic. The partial rows of an append are merged into the `rollup` table inside the appending
transaction (`db.rollups`), so a chart never lags behind the log and never scans it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from events.types import Recorded, StepsCompleted

METRICS = ("loss", "grad_norm", "learning_rate", "tokens_per_sec", "penalty_mass")
BASE = 64
LEVELS = 9  # widths 64, 256, … 4,194,304 steps

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
    return int(BASE * 4**level)


def values(steps: StepsCompleted, metric: str) -> list[float | int | None]:
    """One column; tokens per second is made of two."""
    if metric != "tokens_per_sec":
        return steps.columns.get(metric, [None] * steps.n)
    tokens, seconds = steps.columns.get("tokens"), steps.columns.get("seconds")
    if tokens is None or seconds is None:
        return [None] * steps.n
    return [t / s if t is not None and s else None for t, s in zip(tokens, seconds, strict=True)]


def partials(facts: Iterable[Recorded]) -> list[Partial]:
    """The roll-up rows that these facts add, every metric at every level."""
    rows: list[Partial] = []
    for recorded in facts:
        if isinstance(recorded.event, StepsCompleted):
            for metric in METRICS:
                column = values(recorded.event, metric)
                for level in range(LEVELS):
                    rows += _level(recorded.event, metric, column, level)
    return rows


def _level(
    steps: StepsCompleted, metric: str, column: Sequence[float | int | None], level: int
) -> list[Partial]:
    rows: list[Partial] = []
    size, first, n = width(level), steps.first_global_step, len(column)
    start = 0
    while start < n:
        bucket = (first + start) // size
        end = min(n, (bucket + 1) * size - first)
        known = [v for v in column[start:end] if v is not None]
        finite = [v for v in known if math.isfinite(v)]
        if known:
            rows.append((
                metric, level, bucket, steps.run, steps.attempt, len(finite), len(known) - len(finite),
                math.fsum(finite), min(finite, default=None), max(finite, default=None),
                finite[-1] if finite else None, first + end - 1,
            ))  # fmt: skip
        start = end
    return rows


def combine(row: Sequence[Any], more: Sequence[Any]) -> tuple[Any, ...]:
    """Two partial rows of one key as one, as `db.rollups.MERGE` does it in SQL."""
    lows = [v for v in (row[8], more[8]) if v is not None]
    highs = [v for v in (row[9], more[9]) if v is not None]
    return (
        *row[:5], row[5] + more[5], row[6] + more[6], row[7] + more[7],
        min(lows, default=None), max(highs, default=None),
        row[10] if more[10] is None else more[10], more[11],
    )  # fmt: skip


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
