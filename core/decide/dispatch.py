"""Which file trains next, is a trainer wanted, and when is a run given up?"""

from dataclasses import dataclass

from core.decide.resume import standing
from events.types import (
    AlertRaised,
    CheckpointQuarantined,
    ConfigChanged,
    DecayRequested,
    Event,
    FileQueued,
    FileRemoved,
    FileReprioritized,
    FixedSetChecked,
    PauseRequested,
    RequestRefused,
    RestoreRequested,
    StopRequested,
    TrainingFailed,
    TrainingStarted,
    VersionRestored,
)
from projections.fold import State
from projections.standing import next_start

#: The choice of a file rests on these: when one is newer than what was seen, it is chosen again.
DEPENDS_ON: tuple[type[Event], ...] = (
    PauseRequested,
    StopRequested,
    TrainingStarted,
    FileQueued,
    FileReprioritized,
    FileRemoved,
    ConfigChanged,
    FixedSetChecked,
    AlertRaised,
    RestoreRequested,
    VersionRestored,
    CheckpointQuarantined,
    DecayRequested,
    RequestRefused,
)

KILLS_PER_TRY = 4


@dataclass(frozen=True, slots=True)
class Measured:
    """What the batch plan of a file comes to, under the settings in force."""

    steps_planned: int
    rows: int  # trained rows of one epoch
    holdout_rows: int
    tokens: int  # of the whole run
    trained_tokens: int
    plan_sha256: str
    fixed_set: str | None = None  # sha256 of the fixed validation set, and the key of its token store
    fixed_store: str | None = None
    excluded_rows: int = 0


def next_file(state: State) -> str | None:
    """Which file, by its hash, may start now?"""
    if not state.control.may_train or state.run.current is not None or state.health.fatal is not None:
        return None
    if state.versions.due:  # the version of the run before comes first: it is the parent
        return None
    if state.control.first("RestoreRequested") is not None:  # it may change where the next run begins
        return None
    if "waiting" in state.health.alerts:
        return None
    return next((sha256 for sha256 in state.queue.waiting if sha256 not in state.queue.unsettled), None)


def start(state: State, sha256: str, measured: Measured) -> list[Event]:
    """The run of this file: a stopped one goes on where it was, any other begins.

    One that begins takes up a decay that was asked for; one that goes on keeps the schedule it has.
    """
    entry, file = state.queue.entries[sha256], state.inbox.files[sha256]
    at, restored = next_start(state), state.versions.restored
    stopped = state.run.of_file(sha256)
    if stopped is not None and stopped.plan_sha256 != measured.plan_sha256:
        stopped = None  # other settings, other batches: its position means nothing any more
    if stopped is not None and restored is not None and (stopped.ended or 0) < restored.seq:
        stopped = None  # nor does it on the weights of another branch
    number = len(state.run.runs) + 1
    asked = None
    if stopped is None and state.workspace.config["lr_schedule"] == "wsd":
        asked = state.control.first("DecayRequested")
    return [
        TrainingStarted(
            run=stopped.id if stopped is not None else f"r{number:05d}-{sha256[:8]}",
            sha256=sha256,
            file=entry.name,
            step=_done(state, stopped.id) if stopped is not None else 0,
            steps_planned=measured.steps_planned,
            global_step=at.global_step,
            epochs=int(state.workspace.config["epochs"]),
            rows=measured.rows,
            holdout_rows=measured.holdout_rows,
            trained_tokens=measured.trained_tokens,
            tokens=measured.tokens,
            plan_sha256=measured.plan_sha256,
            store=file.store or "",
            checkpoint=at.path,
            weights=at.weights,
            parent=state.versions.current,
            config=state.workspace.config,
            config_sha256=state.workspace.config_sha256 or "",
            fixed_set=measured.fixed_set,
            fixed_store=measured.fixed_store,
            excluded_rows=measured.excluded_rows,
            decays=asked is not None if stopped is None else stopped.decays,
            request=asked.seq if asked is not None else None,
        )
    ]


def _done(state: State, run: str) -> int:
    return state.run.runs[run].stopped_step


def wants_trainer(state: State) -> bool:
    """Is a run open that a trainer should be working on?"""
    run = state.run.current
    alerts = state.health.alerts.values()
    # the trainer's own incurable death is tried again, seldom: that is how it is found to be mended
    barred = any(alert.severity == "fatal" and alert.type != "fatal:trainer" for alert in alerts)
    if run is None or run.state != "open" or barred:
        return False
    if state.control.first("SkipRequested") is not None:
        return False  # the daemon answers it while no trainer lives
    return state.control.may_train and not is_hopeless(state)


def is_hopeless(state: State) -> bool:
    """Has the open run used up its tries without getting any further?

    A kill from outside says little of the file: several count as one try, so that a bad day of the machine
    costs no file, and a file that always ends in a kill is found all the same.
    """
    run = state.run.current
    if run is None:
        return False
    return run.tries + run.kills // KILLS_PER_TRY >= int(run.config["max_attempts"])


def give_up(state: State) -> list[Event]:
    """The end of a run whose tries all died at the same place. Only while no trainer lives."""
    run = state.run.current
    if run is None or not is_hopeless(state):
        return []
    crash = next((c for c in reversed(state.health.crashes) if c.run == run.id), None)
    at = standing(state, run)
    return [
        TrainingFailed(
            run=run.id,
            sha256=run.sha256,
            step=at.step,
            global_step=at.global_step,
            checkpoint=at.path,
            reason=f"{run.tries} tries ended without getting further: {crash.error if crash else 'unknown'}",
            attempts=run.attempt,
        )
    ]


def restart_delay(crashes: int, progressed: bool, incurable: bool = False) -> float:
    """Seconds before a dead process is started again: soon at first, then 10 s doubling to 5 min."""
    if incurable:
        return 300.0
    if progressed or crashes <= 1:
        return 0.5
    return float(min(300.0, 10.0 * 2 ** (crashes - 2)))
