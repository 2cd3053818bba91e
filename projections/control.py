"""The control: may anything train, what was asked for, and what still waits for an answer."""

from dataclasses import dataclass

from events.codec import TYPES
from events.types import (
    BackupFailed,
    BackupRequested,
    BackupStarted,
    BackupVerified,
    CleanRequested,
    ConsolidateRequested,
    DiskCleaned,
    Event,
    FileRemoved,
    FileReopened,
    FileReprioritized,
    MoveRequested,
    PauseRequested,
    PinRequested,
    Recorded,
    RemoveRequested,
    RequestRefused,
    RestoreRequested,
    ResumeRequested,
    RetryRequested,
    ServicePaused,
    ServiceResumed,
    ServiceStopped,
    SkipRequested,
    StopRequested,
    TrainingPaused,
    TrainingSkipped,
    TrainingStopped,
    UnpinRequested,
    VersionPinned,
    VersionPublished,
    VersionRestored,
    VersionUnpinned,
)
from projections.change import replace

VERSION = 2

REQUESTS = (
    PauseRequested,
    ResumeRequested,
    StopRequested,
    SkipRequested,
    MoveRequested,
    RemoveRequested,
    RetryRequested,
    RestoreRequested,
    PinRequested,
    UnpinRequested,
    ConsolidateRequested,
    BackupRequested,
    CleanRequested,
)

#: What answers a request: the facts that name one, but for that which only tells that the work began.
ANSWERS: tuple[type[Event], ...] = tuple(
    cls for cls in TYPES.values() if "request" in cls.__dataclass_fields__ and cls is not BackupStarted
)


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody asked; nobody has answered yet."""

    seq: int
    actor: str
    type: str
    run: str | None = None
    sha256: str | None = None
    priority: str | None = None
    version: str | None = None
    average: int | None = None


@dataclass(frozen=True, slots=True)
class Control:
    mode: str = "running"  # running, paused or stopped: outlives every restart
    since: int = 0  # seq
    pending: tuple[Request, ...] = ()

    def first(self, *types: str) -> Request | None:
        """The oldest unanswered request of these types."""
        return next((request for request in self.pending if request.type in types), None)

    @property
    def may_train(self) -> bool:
        """Nothing is paused or stopped, and nobody asked for it."""
        return self.mode == "running" and self.first("PauseRequested", "StopRequested") is None


EMPTY = Control()


def apply(state: Control, recorded: Recorded) -> Control:
    seq = recorded.seq
    match recorded.event:
        case PauseRequested() | ResumeRequested() | StopRequested() | BackupRequested() | CleanRequested():
            return _ask(state, Request(seq, recorded.actor, type(recorded.event).__name__))
        case SkipRequested(run=run):
            return _ask(state, Request(seq, recorded.actor, "SkipRequested", run=run))
        case MoveRequested(sha256=sha256, priority=priority):
            return _ask(
                state, Request(seq, recorded.actor, "MoveRequested", sha256=sha256, priority=priority)
            )
        case RemoveRequested(sha256=sha256) | RetryRequested(sha256=sha256):
            return _ask(state, Request(seq, recorded.actor, type(recorded.event).__name__, sha256=sha256))
        case (
            RestoreRequested(version=version)
            | PinRequested(version=version)
            | UnpinRequested(version=version)
        ):
            return _ask(state, Request(seq, recorded.actor, type(recorded.event).__name__, version=version))
        case ConsolidateRequested(average=average):
            return _ask(state, Request(seq, recorded.actor, "ConsolidateRequested", average=average))
        case TrainingPaused(request=request) | ServicePaused(request=request):
            return replace(_answer(state, request), mode="paused", since=seq)
        case TrainingStopped(request=request) | ServiceStopped(request=request):
            return replace(_answer(state, request), mode="stopped", since=seq)
        case ServiceResumed(request=request):
            return replace(_answer(state, request), mode="running", since=seq)
        case RequestRefused(request=request) | TrainingSkipped(request=request):
            return _answer(state, request)
        case (
            VersionRestored(request=request)
            | VersionPinned(request=request)
            | VersionUnpinned(request=request)
        ):
            return _answer(state, request)
        case (
            VersionPublished(request=int(request))
            | BackupVerified(request=int(request))
            | BackupFailed(request=int(request))
            | DiskCleaned(request=int(request))
            | FileReprioritized(request=int(request))
            | FileRemoved(request=int(request))
            | FileReopened(request=int(request))
        ):
            return _answer(state, request)
        case _:
            return state


def _ask(state: Control, request: Request) -> Control:
    return replace(state, pending=(*state.pending, request))


def _answer(state: Control, request: int) -> Control:
    return replace(state, pending=tuple(other for other in state.pending if other.seq != request))
