"""The runs: which file is being trained, from where, how far, and how each run ended."""

import math
from typing import Any

from immutables import Map
from msgspec import Struct, field
from msgspec.structs import replace

from events.types import (
    AttemptStarted,
    CheckpointSaved,
    MicroBatchHalved,
    PhaseEntered,
    ProcessCrashed,
    Recorded,
    ServiceResumed,
    TrainingCompleted,
    TrainingFailed,
    TrainingInterrupted,
    TrainingPaused,
    TrainingRolledBack,
    TrainingSkipped,
    TrainingStarted,
    TrainingStopped,
    ValidationMeasured,
    VersionRestored,
)
from projections.crashes import FOREIGN, INCURABLE

VERSION = 6

#: How far a try got before step 1, in this order.
PHASES = ("load", "tokenize", "eval", "step")


class Validation(Struct, frozen=True, gc=False):
    seq: int
    step: int
    global_step: int
    loss: float
    train_loss: float | None  # token-weighted mean since the validation before

    @property
    def gap(self) -> float | None:
        """Validation loss minus training loss since the validation before."""
        return None if self.train_loss is None else self.loss - self.train_loss


class Best(Struct, frozen=True, gc=False):
    """The lowest validation loss of a run, and where it was."""

    step: int
    global_step: int
    loss: float
    kind: str  # "fixed" where the run measures a fixed set, else "holdout"


class Run(Struct, frozen=True, gc=False):
    """One file's training. `open` and `paused` runs hold the file in processing/."""

    id: str
    sha256: str
    file: str
    state: str  # open, paused, stopped, completed, skipped or failed
    started: int  # seq of its newest TrainingStarted
    first_started: int  # seq of its first
    started_at: int  # µs
    step: int  # steps done when that start was decided
    steps_planned: int
    global_step: int  # at that start
    epochs: int
    rows: int
    holdout_rows: int
    tokens: int
    trained_tokens: int
    plan_sha256: str
    store: str
    checkpoint: str | None  # the resume point that start goes on from
    parent: str | None
    config: dict[str, Any]
    config_sha256: str
    attempt: int = 0  # trainer processes that loaded it, counted for ever
    tries: int = 0  # consecutive ones that got no further than an earlier one
    kills: int = 0  # the same, but ended from outside
    rollbacks: int = 0  # times it went back because of bad numbers
    halvings: Map[int, int] = field(default_factory=Map)  # first step → times its micro-batches are halved
    reached: tuple[int, int] = (0, 0)  # furthest (step, phase) of the tries before
    phase: int = 0  # furthest phase of this try
    validations: tuple[Validation, ...] = ()  # hold-out, the newest four
    first_validation: Validation | None = None  # before step 1
    fixed: Validation | None = None  # of the fixed set, the newest
    best: Best | None = None
    lowest: float | None = None  # loss of the hold-out, of all its evaluations
    stopped_step: int = 0  # where a stop left it
    weights: str | None = None  # the version that start takes its weights from, where it has no resume point
    fixed_set: str | None = None  # sha256
    fixed_store: str | None = None
    excluded_rows: int = 0  # they stand in the fixed set
    decays: bool = False  # with `wsd`: its learning rate falls to almost nothing
    ended: int | None = None  # seq
    reason: str | None = None

    @property
    def fixed_loss(self) -> float | None:
        """The newest loss on the fixed set."""
        return self.fixed.loss if self.fixed is not None else None


class Runs(Struct, frozen=True, gc=False):
    open: str | None = None  # the id of the run that holds processing/
    runs: Map[str, Run] = field(default_factory=Map)
    latest: str | None = None  # the newest run, whatever became of it
    global_step: int = 0  # at the last resume point or outcome: what the weights on disk have seen

    @property
    def current(self) -> Run | None:
        """The open or paused run."""
        return self.runs[self.open] if self.open is not None else None

    def of_file(self, sha256: str) -> Run | None:
        """The newest stopped run of this file, which goes on when the file's turn comes."""
        stopped = [run for run in self.runs.values() if run.sha256 == sha256 and run.state == "stopped"]
        return max(stopped, key=lambda run: run.started, default=None)


EMPTY = Runs()


def apply(state: Runs, recorded: Recorded) -> Runs:
    seq = recorded.seq
    match recorded.event:  # first what comes most often: each case before it costs its tenth of a microsecond
        case PhaseEntered(run=run, phase=phase):
            return _entered(state, run, phase)
        case ValidationMeasured() as e:
            return _validated(state, e, seq)
        case CheckpointSaved(global_step=global_step):
            return replace(state, global_step=global_step)
        case TrainingStarted() as e:
            return _started(state, e, recorded)
        case AttemptStarted(run=run):
            return _set(state, run, attempt=state.runs[run].attempt + 1)
        case ProcessCrashed(run=str(run), category="disk_full") if run in state.runs:
            return _set(state, run, phase=0)  # no fault of the file: no try
        case ProcessCrashed(run=str(run)) as e if run in state.runs and e.category not in INCURABLE:
            return _crashed(state, run, e)
        case TrainingPaused(run=run, global_step=global_step):
            return _set(replace(state, global_step=global_step), run, state="paused")
        case ServiceResumed() if state.current is not None and state.current.state == "paused":
            return _set(state, state.current.id, state="open")
        case TrainingInterrupted(global_step=global_step):
            return replace(state, global_step=global_step)
        case VersionRestored(global_step=global_step):
            return replace(state, global_step=global_step)
        case MicroBatchHalved(run=run, step=step, halvings=times):
            return _set(state, run, halvings=state.runs[run].halvings.set(step, times))
        case TrainingRolledBack() as e:
            return _rolled_back(state, e)
        case TrainingStopped() as e:
            state = _set(state, e.run, state="stopped", ended=seq, stopped_step=e.step)
            return replace(state, open=None, global_step=e.global_step)
        case TrainingCompleted() as e:
            return _ended(state, e.run, "completed", e.global_step, seq, None)
        case TrainingSkipped() as e:
            return _ended(state, e.run, "skipped", e.global_step, seq, "skipped by request")
        case TrainingFailed() as e:
            return _ended(state, e.run, "failed", e.global_step, seq, e.reason)
        case _:
            return state


def _entered(state: Runs, run: str | None, phase: str) -> Runs:
    """Nearly always a phase that it has been in before."""
    known = state.runs.get(run) if run is not None and phase in PHASES else None
    if known is None or PHASES.index(phase) <= known.phase:
        return state
    return _set(state, known.id, phase=PHASES.index(phase))


def _started(state: Runs, e: TrainingStarted, recorded: Recorded) -> Runs:
    known = state.runs.get(e.run)
    run = Run(
        id=e.run, sha256=e.sha256, file=e.file, state="open", started=recorded.seq,
        first_started=known.first_started if known else recorded.seq,
        started_at=known.started_at if known else recorded.at,
        step=e.step, steps_planned=e.steps_planned, global_step=e.global_step, epochs=e.epochs, rows=e.rows,
        holdout_rows=e.holdout_rows, tokens=e.tokens, trained_tokens=e.trained_tokens,
        plan_sha256=e.plan_sha256, store=e.store, checkpoint=e.checkpoint, parent=e.parent, config=e.config,
        config_sha256=e.config_sha256, weights=e.weights, fixed_set=e.fixed_set, fixed_store=e.fixed_store,
        excluded_rows=e.excluded_rows, decays=e.decays,
    )  # fmt: skip
    if known is not None:
        run = replace(
            run, attempt=known.attempt, rollbacks=known.rollbacks, halvings=known.halvings,
            reached=known.reached, validations=known.validations, first_validation=known.first_validation,
            lowest=known.lowest,
        )  # fmt: skip
        if known.fixed_set == e.fixed_set:  # losses on other rows say nothing of these
            run = replace(run, fixed=known.fixed, best=known.best)
    return replace(state, open=e.run, latest=e.run, runs=state.runs.set(e.run, run))


def _crashed(state: Runs, run: str, e: ProcessCrashed) -> Runs:
    known = state.runs[run]
    got = (e.step or 0, known.phase)
    if got > known.reached:
        return _set(state, run, reached=got, tries=0, kills=0, phase=0)
    if e.category in FOREIGN:
        return _set(state, run, kills=known.kills + 1, phase=0)
    return _set(state, run, tries=known.tries + 1, phase=0)


def _rolled_back(state: Runs, e: TrainingRolledBack) -> Runs:
    """What was measured beyond the point it goes back to may be wrong, and is measured again."""
    known = state.runs[e.run]
    kept = tuple(validation for validation in known.validations if validation.step <= e.to_step)
    fixed = known.fixed if known.fixed is not None and known.fixed.step <= e.to_step else None
    state = _set(state, e.run, rollbacks=known.rollbacks + 1, validations=kept, fixed=fixed)
    return replace(state, global_step=e.to_global_step)


def _validated(state: Runs, e: ValidationMeasured, seq: int) -> Runs:
    measured, known = Validation(seq, e.step, e.global_step, e.loss, e.train_loss), state.runs[e.run]
    judged_by, finite = "holdout" if known.fixed_set is None else "fixed", math.isfinite(e.loss)
    best = known.best
    if e.kind == judged_by and finite and (best is None or e.loss < best.loss):
        best = Best(e.step, e.global_step, e.loss, e.kind)
    if e.kind == "fixed":
        return _set(state, e.run, best=best, fixed=measured)
    # what was measured further on belongs to steps that are being done again
    before = tuple(validation for validation in known.validations if validation.step < e.step)
    return _set(
        state,
        e.run,
        best=best,
        validations=(*before[-3:], measured),
        first_validation=known.first_validation or measured,
        lowest=e.loss if finite and (known.lowest is None or e.loss < known.lowest) else known.lowest,
    )


def _ended(state: Runs, run: str, how: str, global_step: int, seq: int, reason: str | None) -> Runs:
    state = _set(state, run, state=how, ended=seq, reason=reason)
    return replace(state, open=None, global_step=global_step)


def _set(state: Runs, run: str, /, **changes: Any) -> Runs:
    return replace(state, runs=state.runs.set(run, replace(state.runs[run], **changes)))
