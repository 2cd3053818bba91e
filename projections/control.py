"""The control: may anything train, what was asked for, and what still waits for an answer."""

from msgspec import Struct
from msgspec.structs import replace

from events.codec import TYPES
from events.types import (
    BackupFailed,
    BackupRequested,
    BackupStarted,
    BackupVerified,
    CleanRequested,
    ConsolidateRequested,
    DecayRequested,
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
    TrainingStarted,
    TrainingStopped,
    UnpinRequested,
    VersionPinned,
    VersionPublished,
    VersionRestored,
    VersionUnpinned,
)

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
    DecayRequested,
    BackupRequested,
    CleanRequested,
)

#: What answers a request: the facts that name one, but for that which only tells that the work began.
ANSWERS: tuple[type[Event], ...] = tuple(
    cls for cls in TYPES.values() if "request" in cls.__struct_fields__ and cls is not BackupStarted
)


class Request(Struct, frozen=True, gc=False):
    """Somebody asked; nobody has answered yet."""

    seq: int
    actor: str
    type: str
    run: str | None = None
    sha256: str | None = None
    priority: str | None = None
    version: str | None = None
    average: int | None = None


class Control(Struct, frozen=True, gc=False):
    mode: str = "running"  # running, paused or stopped: outlives every restart
    since: int = 0  # seq
    pending: tuple[Request, ...] = ()

    def first(self, *types: str) -> Request | None:
        """The oldest unanswered request of these types."""
        return next((request for request in self.pending if request.type in types), None)

    @property
    def is_asked(self) -> bool:
        """Somebody waits for what is done soon; a decay waits for a run to begin, which may take days."""
        return any(request.type != "DecayRequested" for request in self.pending)

    @property
    def may_train(self) -> bool:
        """Nothing is paused or stopped, and nobody asked for it."""
        return self.mode == "running" and self.first("PauseRequested", "StopRequested") is None


EMPTY = Control()


def apply(state: Control, recorded: Recorded) -> Control:
    seq = recorded.seq
    match recorded.event:
        case (
            PauseRequested()
            | ResumeRequested()
            | StopRequested()
            | DecayRequested()
            | BackupRequested()
            | CleanRequested()
        ):
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
            | TrainingStarted(request=int(request))
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
