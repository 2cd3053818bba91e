"""What do the open requests lead to, as far as no trainer has to answer them?"""

from core.decide.resume import standing
from events.types import (
    ConfigChanged,
    DecayRequested,
    Event,
    FileRemoved,
    FileReopened,
    FileReprioritized,
    MoveRequested,
    PauseRequested,
    RemoveRequested,
    RequestRefused,
    ResumeRequested,
    RetryRequested,
    ServicePaused,
    ServiceResumed,
    ServiceStopped,
    SkipRequested,
    StopRequested,
    TrainingPaused,
    TrainingSkipped,
    TrainingStarted,
    TrainingStopped,
)
from projections.control import Control, Request
from projections.fold import State
from projections.queue import PRIORITIES, REOPENABLE
from projections.run import Run

#: An answer rests on these: when one is newer than what was seen, it is decided again.
DEPENDS_ON: tuple[type[Event], ...] = (
    PauseRequested,
    ResumeRequested,
    StopRequested,
    SkipRequested,
    MoveRequested,
    RemoveRequested,
    RetryRequested,
    DecayRequested,
    ConfigChanged,
    TrainingStarted,
)


def answer(state: State, *, trainer_alive: bool) -> list[Event]:
    """The facts that answer the oldest request which may be answered now; empty: nothing to say."""
    for request in state.control.pending:
        facts = _answer(state, request, trainer_alive)
        if facts:
            return facts
    return []


def _answer(state: State, request: Request, trainer_alive: bool) -> list[Event]:
    match request.type:
        case "PauseRequested" | "StopRequested":
            return _halt(state, request, trainer_alive)
        case "ResumeRequested":
            return _resume(state.control, request)
        case "SkipRequested":
            return _skip(state, request, trainer_alive)
        case "MoveRequested":
            return _move(state, request)
        case "RemoveRequested":
            return _remove(state, request)
        case "RetryRequested":
            return _retry(state, request)
        case "DecayRequested":
            return _decay(state, request)
        case _:
            return []  # versions, backups and the disk have jobs of their own, which answer


def _refuse(request: Request, reason: str) -> list[Event]:
    return [RequestRefused(request=request.seq, reason=reason)]


def _halt(state: State, request: Request, trainer_alive: bool) -> list[Event]:
    """Pause or stop, unless somebody has taken it back before it began."""
    pause = request.type == "PauseRequested"
    mode = state.control.mode
    if mode == "stopped" or (pause and mode == "paused"):
        return _refuse(request, f"already {mode}")
    for later in state.control.pending:
        if later.seq > request.seq and later.type == "ResumeRequested" and mode == "running":
            taken_back = [
                other
                for other in state.control.pending
                if other.seq < later.seq and other.type in ("PauseRequested", "StopRequested")
            ]
            why = f"taken back by the resume #{later.seq} before it began"
            return [
                *(RequestRefused(request=other.seq, reason=why) for other in taken_back),
                ServiceResumed(request=later.seq),
            ]
    run = state.run.current
    if run is None:
        return [ServicePaused(request=request.seq) if pause else ServiceStopped(request=request.seq)]
    if trainer_alive:
        return []  # its own: it cuts a checkpoint at the next step boundary
    return _halted(TrainingPaused if pause else TrainingStopped, state, run, request)


def _halted(
    outcome: type[TrainingPaused | TrainingStopped | TrainingSkipped],
    state: State,
    run: Run,
    request: Request,
) -> list[Event]:
    at = standing(state, run)
    return [
        outcome(
            run=run.id,
            sha256=run.sha256,
            step=at.step,
            global_step=at.global_step,
            checkpoint=at.path,
            request=request.seq,
        )
    ]


def _resume(control: Control, request: Request) -> list[Event]:
    if any(
        other.seq < request.seq and other.type in ("PauseRequested", "StopRequested")
        for other in control.pending
    ):
        return []  # the pause before it is answered first
    if control.mode == "running":
        return _refuse(request, "nothing is paused or stopped")
    return [ServiceResumed(request=request.seq)]


def _skip(state: State, request: Request, trainer_alive: bool) -> list[Event]:
    run = state.run.current
    if run is None or request.run is None:
        return _refuse(request, "nothing is training")
    if run.id != request.run:
        return _refuse(request, f"it was meant for {request.run}, which has ended")
    if trainer_alive:
        return []
    return _halted(TrainingSkipped, state, run, request)


def _decay(state: State, request: Request) -> list[Event]:
    """Only what no run can follow is answered here; the next run that begins answers the others."""
    schedule, first = state.workspace.config["lr_schedule"], state.control.first("DecayRequested")
    if schedule != "wsd":
        return _refuse(
            request, f"lr_schedule is {schedule}: only wsd decays on request; set it in config.json, then ask"
        )
    if first is not None and first.seq < request.seq:
        return _refuse(request, f"the next run decays already, as asked in #{first.seq}")
    return []


def _move(state: State, request: Request) -> list[Event]:
    entry = state.queue.entries.get(request.sha256 or "")
    priority = request.priority or ""
    if entry is None:
        return _refuse(request, "no such file")
    if priority not in PRIORITIES:
        return _refuse(request, f"no such priority: {priority}; there are {', '.join(PRIORITIES)}")
    if entry.state not in ("waiting", "validating"):
        return _refuse(request, f"{entry.name} is {entry.state}; only waiting files move")
    if entry.priority == priority:
        return _refuse(request, f"{entry.name} has priority {priority} already")
    return [FileReprioritized(sha256=entry.sha256, priority=priority, request=request.seq)]


def _remove(state: State, request: Request) -> list[Event]:
    entry = state.queue.entries.get(request.sha256 or "")
    if entry is None:
        return _refuse(request, "no such file")
    if entry.state not in ("waiting", "validating"):
        return _refuse(request, f"{entry.name} is {entry.state}; only waiting files can be removed")
    return [FileRemoved(sha256=entry.sha256, reason="removed by request", request=request.seq)]


def _retry(state: State, request: Request) -> list[Event]:
    entry = state.queue.entries.get(request.sha256 or "")
    if entry is None:
        return _refuse(request, "no such file")
    if entry.state not in REOPENABLE:
        return _refuse(request, f"{entry.name} is {entry.state} already")
    if not entry.may_reopen:
        return _refuse(request, f"the bytes of {entry.name} are gone from disk: drop the file again")
    return [FileReopened(sha256=entry.sha256, priority=entry.priority, request=request.seq)]
