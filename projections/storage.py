"""The storage: which resume points exist, in the log's order, and which may be used or must go."""

from dataclasses import dataclass, field, replace

from immutables import Map

from events.types import (
    CheckpointDeleted,
    CheckpointQuarantined,
    CheckpointRetired,
    CheckpointSaved,
    Recorded,
)

VERSION = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A resume point: `usable`, `quarantined` (failed its verification), or `retired` (going)."""

    path: str
    run: str
    step: int
    global_step: int
    saved: int  # seq
    manifest_sha256: str
    weights_sha256: str
    size_bytes: int
    reason: str
    state: str = "usable"


@dataclass(frozen=True, slots=True)
class Storage:
    checkpoints: Map[str, Checkpoint] = field(default_factory=Map)  # by path; deleted ones are gone

    @property
    def usable(self) -> tuple[Checkpoint, ...]:
        """Newest first, by the log's order: never by name, number or mtime."""
        found = [c for c in self.checkpoints.values() if c.state == "usable"]
        return tuple(sorted(found, key=lambda c: c.saved, reverse=True))

    @property
    def retired(self) -> tuple[Checkpoint, ...]:
        """Condemned and not yet deleted, oldest first."""
        found = [c for c in self.checkpoints.values() if c.state == "retired"]
        return tuple(sorted(found, key=lambda c: c.saved))


EMPTY = Storage()


def apply(state: Storage, recorded: Recorded) -> Storage:
    match recorded.event:
        case CheckpointSaved() as e:
            saved = Checkpoint(
                e.path, e.run, e.step, e.global_step, recorded.seq, e.manifest_sha256, e.weights_sha256,
                e.size_bytes, e.reason,
            )  # fmt: skip
            return Storage(state.checkpoints.set(e.path, saved))
        case CheckpointQuarantined(path=path) if path in state.checkpoints:
            return _mark(state, path, "quarantined")
        case CheckpointRetired(path=path) if path in state.checkpoints:
            return _mark(state, path, "retired")
        case CheckpointDeleted(path=path) if path in state.checkpoints:
            return Storage(state.checkpoints.delete(path))
        case _:
            return state


def _mark(state: Storage, path: str, how: str) -> Storage:
    return Storage(state.checkpoints.set(path, replace(state.checkpoints[path], state=how)))
