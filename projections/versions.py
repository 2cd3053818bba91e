"""The versions: which snapshots of the model exist, what made each, and which one is current."""

from dataclasses import dataclass, field, replace

from immutables import Map

from events.types import Recorded, TrainingCompleted, VersionPublished

VERSION = 1


@dataclass(frozen=True, slots=True)
class Version:
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
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """A completed run whose version is not published yet."""

    seq: int  # of its TrainingCompleted
    at: int
    event: TrainingCompleted


@dataclass(frozen=True, slots=True)
class Versions:
    versions: Map[str, Version] = field(default_factory=Map)
    order: tuple[str, ...] = ()  # oldest first, as published
    current: str | None = None
    due: tuple[Due, ...] = ()

    @property
    def next_id(self) -> str:
        """v0001, v0002, …: numbers are never used twice."""
        return f"v{len(self.order) + 1:04d}"


EMPTY = Versions()


def apply(state: Versions, recorded: Recorded) -> Versions:
    match recorded.event:
        case TrainingCompleted() as e:
            return replace(state, due=(*state.due, Due(recorded.seq, recorded.at, e)))
        case VersionPublished() as e:
            version = Version(
                e.version, recorded.at, e.parent, e.run, e.file, e.sha256, e.global_step, e.loss,
                e.validation_loss, e.path, e.manifest_sha256, e.weights_sha256, e.size_bytes, e.log_seq,
                e.log_hash,
            )  # fmt: skip
            return Versions(
                versions=state.versions.set(e.version, version),
                order=(*state.order, e.version),
                current=e.version,
                due=tuple(due for due in state.due if due.event.run != e.run),
            )
        case _:
            return state
