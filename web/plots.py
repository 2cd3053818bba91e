"""The plots: what a chart shows beside its columns, the validations and the marks, as of any position."""

from dataclasses import dataclass
from typing import Any, TypeVar

from events.log import Log
from events.types import CheckpointSaved, TrainingPaused, TrainingStopped, ValidationMeasured
from projections.curves import METRICS
from projections.fold import State
from web.charts import Mark, Point
from web.columns import Column
from web.trail import Trail

OfRun = TypeVar("OfRun", ValidationMeasured, CheckpointSaved, TrainingPaused, TrainingStopped)

POINTS = 200  # validations and marks of a chart, the newest


@dataclass(frozen=True, slots=True)
class Curves:
    """The numbers behind the charts."""

    trail: Trail
    validations: tuple[Point, ...]
    fixed: tuple[Point, ...]
    marks: tuple[Mark, ...]


def curves(log: Log, trail: Trail, state: State) -> Curves:
    """The numbers of a trail with what was measured and marked, as of the position the trail ends at."""
    measured = _newest_of(log, ValidationMeasured, trail, 2 * POINTS, state)
    points, fixed = (
        tuple(Point(fact.global_step, fact.loss) for fact in measured if fact.kind == kind)
        for kind in ("holdout", "fixed")
    )
    return Curves(trail, points, fixed, _marks(log, trail, state))


def document(curves: Curves) -> dict[str, Any]:
    """The columns of every metric as values, what was done again apart, and what was measured."""
    trail = curves.trail
    return {
        "run": trail.run, "seq": trail.seq, "width": trail.width, "from": trail.first_step,
        "to": trail.last_step if trail.first_step is not None else None,
        "metrics": {
            metric: {
                "columns": [_values(column) for column in trail.columns(metric)],
                "done_again": [[_values(column) for column in part] for part in trail.earlier(metric)],
            }
            for metric in METRICS
        },
        "validation": [{"step": p.step, "loss": p.value} for p in curves.validations],
        "fixed_validation": [{"step": p.step, "loss": p.value} for p in curves.fixed],
        "marks": [{"kind": m.kind, "step": m.step, "label": m.label} for m in curves.marks],
    }  # fmt: skip


def _values(column: Column) -> dict[str, Any]:
    return {
        "first_step": column.first_step, "last_step": column.last_step, "n": column.n,
        "nonfinite": column.nonfinite, "min": column.low if column.n else None,
        "max": column.high if column.n else None, "mean": column.mean, "last": column.last,
    }  # fmt: skip


def _newest_of(log: Log, cls: type[OfRun], trail: Trail, n: int, state: State) -> list[OfRun]:
    """The newest n facts of a type, of one run if given, oldest first."""
    # by type, for these are few; inside the run's stream the seek would walk over all its steps
    known = state.run.runs.get(trail.run) if trail.run is not None else None
    ended = known.ended if known is not None else None
    to = min((seq for seq in (ended, trail.until) if seq is not None), default=None)
    found = [recorded.event for recorded in log.last(n, cls, to=to)]
    return [
        fact for fact in found
        if isinstance(fact, cls) and trail.run in (None, fact.run) and trail.shows(fact.global_step)
    ]  # fmt: skip


def _marks(log: Log, trail: Trail, state: State) -> tuple[Mark, ...]:
    marks, of = [], trail.run
    for saved in _newest_of(log, CheckpointSaved, trail, POINTS // 4, state):
        marks.append(Mark("checkpoint", saved.global_step, f"checkpoint at step {saved.global_step}"))
    for paused in _newest_of(log, TrainingPaused, trail, POINTS // 4, state):
        marks.append(Mark("pause", paused.global_step, f"paused at step {paused.global_step}"))
    for stopped in _newest_of(log, TrainingStopped, trail, POINTS // 4, state):
        marks.append(Mark("pause", stopped.global_step, f"stopped at step {stopped.global_step}"))
    for crash in state.health.crashes:
        run = state.run.runs.get(crash.run) if crash.run else None
        if run is not None and of in (None, run.id):
            step = run.global_step - run.step + (crash.step or 0)
            if not trail.shows(step):
                continue
            marks.append(Mark("crash", step, f"crash at step {step}"))
    names = state.versions.order if trail.span is not None else state.versions.order[-POINTS // 4 :]
    for name in names:
        version = state.versions.versions[name]
        if trail.shows(version.global_step) and of in (None, version.run) and version.kind == "run":
            marks.append(Mark("version", version.global_step, f"{name} at step {version.global_step}"))
    return tuple(marks)
