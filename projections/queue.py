"""The queue: which files wait, which one trains, how each one ended."""

from typing import Any

from immutables import Map
from msgspec import Struct, field
from msgspec.structs import replace

from events.types import (
    AttemptStarted,
    FileDuplicate,
    FileLost,
    FilePlaced,
    FileQueued,
    FileReceived,
    FileRejected,
    FileRemoved,
    FileReopened,
    FileReprioritized,
    FileValidated,
    Recorded,
    TrainingCompleted,
    TrainingFailed,
    TrainingSkipped,
    TrainingStarted,
    TrainingStopped,
)

VERSION = 2
PRIORITIES = ("high", "normal", "low")
REOPENABLE = ("rejected", "failed", "skipped", "removed", "completed")


class Entry(Struct, frozen=True, gc=False):
    """One file's way: validating → waiting → processing → completed, rejected, failed, skipped or removed."""

    sha256: str
    name: str
    priority: str
    state: str
    since: int  # seq of its last change of state
    placed: str | None = None  # where it lies, as last recorded
    rows: int | None = None
    trainable_tokens: int | None = None
    attempts: int = 0
    reason: str | None = None
    lost: bool = False  # its bytes are gone from disk

    @property
    def may_reopen(self) -> bool:
        """It has ended and its bytes are still there: a retry would be taken."""
        return self.state in REOPENABLE and not self.lost


class Queue(Struct, frozen=True, gc=False):
    entries: Map[str, Entry] = field(default_factory=Map)  # by sha256
    high: tuple[str, ...] = ()
    normal: tuple[str, ...] = ()
    low: tuple[str, ...] = ()
    processing: str | None = None
    duplicates: int = 0
    unsettled: Map[str, str] = field(default_factory=Map)  # files not lying where their state says → folder

    def level(self, priority: str) -> tuple[str, ...]:
        """The files waiting on one level, next first."""
        found: tuple[str, ...] = getattr(self, priority)
        return found

    @property
    def waiting(self) -> tuple[str, ...]:
        """All waiting files, next first."""
        return self.high + self.normal + self.low

    def positions(self) -> dict[str, int]:
        """sha256 → its place among the waiting files; 1 is the next one."""
        return {sha256: place for place, sha256 in enumerate(self.waiting, 1)}

    def counts(self, *states: str) -> int:
        """How many files are in one of these states."""
        return sum(1 for entry in self.entries.values() if entry.state in states)


EMPTY = Queue()


def folder(entry: Entry) -> str:
    """The folder that shows this state."""
    match entry.state:
        case "validating" | "waiting":
            return f"queue/{entry.priority}"
        case "processing":
            return "queue/processing"
        case "completed":
            return "queue/recently_completed"
        case _:
            return "queue/failed"


def apply(state: Queue, recorded: Recorded) -> Queue:
    seq = recorded.seq
    match recorded.event:
        case FileReceived() as e:
            return _put(state, Entry(e.sha256, e.name, e.priority, "validating", seq))
        case FileDuplicate():
            return replace(state, duplicates=state.duplicates + 1)
        case FilePlaced(sha256=sha256, path=path, duplicate=None) if sha256 in state.entries:
            return _put(state, replace(state.entries[sha256], placed=path, lost=False))
        case FileLost(sha256=sha256, path=path):
            if state.entries[sha256].state in ("waiting", "validating"):
                state = _dequeue(state, sha256)
                state = _set(state, sha256, state="removed", since=seq, reason=f"gone from {path}")
            return _set(state, sha256, lost=True)
        case FileValidated() as e:
            return _set(state, e.sha256, rows=e.rows, trainable_tokens=e.trainable_tokens)
        case FileRejected() as e:
            state = _dequeue(state, e.sha256)  # it may have passed before, under other settings
            return _set(state, e.sha256, state="rejected", since=seq, rows=e.rows, reason=e.reason)
        case FileQueued(sha256=sha256, priority=priority):
            state = _set(state, sha256, state="waiting", since=seq, priority=priority, reason=None)
            return _enqueue(state, sha256, priority)
        case FileReprioritized(sha256=sha256, priority=priority):
            if state.entries[sha256].state == "waiting":
                state = _enqueue(_dequeue(state, sha256), sha256, priority)
            return _set(state, sha256, priority=priority)
        case FileReopened(sha256=sha256, priority=priority):
            return _set(
                state, sha256, state="validating", since=seq, priority=priority, attempts=0, reason=None
            )
        case FileRemoved(sha256=sha256, reason=reason):
            return _set(_dequeue(state, sha256), sha256, state="removed", since=seq, reason=reason)
        case TrainingStarted(sha256=sha256):
            state = replace(_dequeue(state, sha256), processing=sha256)
            return _set(state, sha256, state="processing", since=seq)
        case AttemptStarted() if state.processing is not None:
            return _set(state, state.processing, attempts=state.entries[state.processing].attempts + 1)
        case TrainingStopped(sha256=sha256):
            state = _set(replace(state, processing=None), sha256, state="waiting", since=seq)
            return _enqueue(state, sha256, state.entries[sha256].priority, head=True)
        case TrainingCompleted(sha256=sha256):
            return _end(state, sha256, "completed", seq, None)
        case TrainingSkipped(sha256=sha256, step=step):
            return _end(state, sha256, "skipped", seq, f"skipped by request after step {step}")
        case TrainingFailed(sha256=sha256, reason=reason):
            return _end(state, sha256, "failed", seq, reason)
        case _:
            return state


def _end(state: Queue, sha256: str, how: str, seq: int, reason: str | None) -> Queue:
    return _set(replace(state, processing=None), sha256, state=how, since=seq, reason=reason)


def _set(state: Queue, sha256: str, /, **changes: Any) -> Queue:
    return _put(state, replace(state.entries[sha256], **changes))


def _put(state: Queue, entry: Entry) -> Queue:
    entries = state.entries.set(entry.sha256, entry)
    at_home = entry.lost or (entry.placed is not None and entry.placed.rpartition("/")[0] == folder(entry))
    unsettled = state.unsettled
    if at_home and entry.sha256 in unsettled:
        unsettled = unsettled.delete(entry.sha256)
    elif not at_home:
        unsettled = unsettled.set(entry.sha256, folder(entry))
    return replace(state, entries=entries, unsettled=unsettled)


def _enqueue(state: Queue, sha256: str, priority: str, head: bool = False) -> Queue:
    level = state.level(priority)
    changed: dict[str, Any] = {priority: (sha256, *level) if head else (*level, sha256)}
    return replace(state, **changed)


def _dequeue(state: Queue, sha256: str) -> Queue:
    for priority in PRIORITIES:
        if sha256 in (level := state.level(priority)):
            changed: dict[str, Any] = {priority: tuple(other for other in level if other != sha256)}
            return replace(state, **changed)
    return state
