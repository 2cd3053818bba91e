"""The plots: what a chart shows beside its columns, the validations and the marks, as of any position."""

from dataclasses import dataclass
from typing import TypeVar

from events.log import Log
from events.types import CheckpointSaved, TrainingPaused, TrainingStopped, ValidationMeasured
from projections.fold import State
from web.charts import Mark, Point
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


def _newest_of(log: Log, cls: type[OfRun], trail: Trail, n: int, state: State) -> list[OfRun]:
    """The newest n facts of a type, of one run if given, oldest first."""
    # by type, for these are few; inside the run's stream the seek would walk over all its steps
    known = state.run.runs.get(trail.run) if trail.run is not None else None
    to = known.ended if known is not None and known.ended is not None else trail.to
    found = [recorded.event for recorded in log.last(n, cls, to=to)]
    return [fact for fact in found if isinstance(fact, cls) and trail.run in (None, fact.run)]


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
            marks.append(Mark("crash", step, f"crash at step {step}"))
    for name in state.versions.order[-POINTS // 4 :]:
        version = state.versions.versions[name]
        if of in (None, version.run) and version.kind == "run":
            marks.append(Mark("version", version.global_step, f"{name} at step {version.global_step}"))
    return tuple(marks)
