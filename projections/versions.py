"""The versions: which snapshots of the model exist, what made each, and which one is current."""

from collections.abc import Iterator
from typing import Any

from immutables import Map
from msgspec import Struct, field
from msgspec.structs import replace

from events.types import (
    Recorded,
    TrainingCompleted,
    VersionDeleted,
    VersionPinned,
    VersionPublished,
    VersionRestored,
    VersionRetired,
    VersionUnpinned,
)

VERSION = 3


class Version(Struct, frozen=True, gc=False):
    """A snapshot: `kept`, `retired` (going) or `deleted` (its facts stay)."""

    id: str
    created_at: int  # µs
    parent: str | None
    run: str
    file: str
    file_sha256: str
    global_step: int
    loss: float | None
    validation_loss: float | None
    path: str
    manifest_sha256: str
    weights_sha256: str
    size_bytes: int
    log_seq: int
    log_hash: str
    kind: str = "run"  # or "release"
    sources: tuple[str, ...] = ()
    published: int = 0  # seq
    fixed_validation_loss: float | None = None
    pinned: bool = False
    state: str = "kept"


class Due(Struct, frozen=True, gc=False):
    """A completed run whose version is not published yet."""

    seq: int  # of its TrainingCompleted
    at: int
    event: TrainingCompleted


class Restored(Struct, frozen=True, gc=False):
    """The newest return to a version: what the next run starts from until it saves a state of its own."""

    seq: int
    version: str
    global_step: int
    checkpoint: str | None  # None: fresh moments


class Versions(Struct, frozen=True, gc=False):
    versions: Map[str, Version] = field(default_factory=Map)
    order: tuple[str, ...] = ()  # oldest first, as published; deleted ones keep their place
    current: str | None = None
    restored: Restored | None = None
    due: tuple[Due, ...] = ()

    @property
    def next_id(self) -> str:
        """v0001, v0002, …: numbers are never used twice."""
        return f"v{len(self.order) + 1:04d}"

    def __iter__(self) -> Iterator[Version]:
        """Those whose files should be there, oldest first."""
        return (v for v in map(self.versions.__getitem__, self.order) if v.state == "kept")

    def ancestors(self, version: str) -> tuple[str, ...]:
        """The version itself and all it descends from, newest first."""
        found: list[str] = []
        each: str | None = version
        while each is not None and each in self.versions:
            found.append(each)
            each = self.versions[each].parent
        return tuple(found)

    def children(self, version: str) -> tuple[str, ...]:
        """What descends from it directly, releases too, oldest first; deleted ones as well."""
        return tuple(name for name in self.order if self.versions[name].parent == version)

    @property
    def retired(self) -> tuple[Version, ...]:
        """Condemned and not yet deleted, oldest first."""
        return tuple(v for v in map(self.versions.__getitem__, self.order) if v.state == "retired")


EMPTY = Versions()


def apply(state: Versions, recorded: Recorded) -> Versions:
    match recorded.event:
        case TrainingCompleted() as e:
            return replace(state, due=(*state.due, Due(recorded.seq, recorded.at, e)))
        case VersionPublished() as e:
            version = Version(
                e.version, recorded.at, e.parent, e.run, e.file, e.sha256, e.global_step, e.loss,
                e.validation_loss, e.path, e.manifest_sha256, e.weights_sha256, e.size_bytes, e.log_seq,
                e.log_hash, e.kind, e.sources, recorded.seq, e.fixed_validation_loss,
            )  # fmt: skip
            order = state.order + (e.version,)  # noqa: RUF005  (copies thousands of names once, not twice)
            state = replace(state, versions=state.versions.set(e.version, version), order=order)
            if e.kind != "run":
                return state  # a release is for others: what trains goes on from what it has
            due = tuple(due for due in state.due if due.event.run != e.run)
            return replace(state, current=e.version, due=due)
        case VersionRestored() as e:
            restored = Restored(recorded.seq, e.version, e.global_step, e.checkpoint)
            return replace(state, current=e.version, restored=restored)
        case VersionPinned(version=version):
            return _set(state, version, pinned=True)
        case VersionUnpinned(version=version):
            return _set(state, version, pinned=False)
        case VersionRetired(version=version):
            return _set(state, version, state="retired")
        case VersionDeleted(version=version):
            return _set(state, version, state="deleted")
        case _:
            return state


def _set(state: Versions, version: str, /, **changes: Any) -> Versions:
    if version not in state.versions:
        return state
    known = state.versions[version]
    return replace(state, versions=state.versions.set(version, replace(known, **changes)))
