"""The storage: which resume points and backups exist, in the log's order, and what may become of each."""

from typing import Any

from immutables import Map
from msgspec import Struct, field
from msgspec.structs import replace

from events.types import (
    BackupDamaged,
    BackupDeleted,
    BackupFailed,
    BackupRetired,
    BackupStarted,
    BackupTaken,
    BackupVerified,
    CheckpointDeleted,
    CheckpointQuarantined,
    CheckpointRetired,
    CheckpointSaved,
    DiskCleaned,
    Recorded,
)

VERSION = 3


class Checkpoint(Struct, frozen=True, gc=False):
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
    at: int = 0  # µs


class Backup(Struct, frozen=True, gc=False):
    """`writing`, `taken` (not restored yet), `verified`, `damaged`, `failed` or `retired` (going)."""

    id: str
    target: str
    started: int  # seq
    at: int  # µs
    state: str = "writing"
    manifest_sha256: str = ""
    versions: tuple[str, ...] = ()
    checkpoints: tuple[str, ...] = ()
    log_seq: int = 0
    log_hash: str = ""
    objects: int = 0
    size_bytes: int = 0
    added_bytes: int = 0
    verified_at: int | None = None  # µs
    reason: str | None = None  # why it failed, is damaged, or goes
    clock: int = 0  # µs: the highest `at` of any backup up to this one; never goes back


class Cleaned(Struct, frozen=True, gc=False):
    """The newest clean-up."""

    seq: int
    at: int
    freed_bytes: int
    reason: str


class Storage(Struct, frozen=True, gc=False):
    checkpoints: Map[str, Checkpoint] = field(default_factory=Map)  # by path; deleted ones are gone
    backups: Map[str, Backup] = field(default_factory=Map)  # by id; deleted ones are gone
    backups_begun: int = 0  # ever: ids are never used twice
    backup_clock: int = 0  # µs: the highest time at which one began
    backup_failures: int = 0  # in a row
    backup_ended_at: int = 0  # µs: when the newest one was verified or failed
    cleaned: Cleaned | None = None

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

    @property
    def next_backup(self) -> str:
        """b0001, b0002, …"""
        return f"b{self.backups_begun + 1:04d}"

    def backups_in(self, *states: str) -> tuple[Backup, ...]:
        """The backups in these states (all: none given), oldest first by the log's order."""
        found = [b for b in self.backups.values() if not states or b.state in states]
        return tuple(sorted(found, key=lambda b: b.started))


EMPTY = Storage()


def apply(state: Storage, recorded: Recorded) -> Storage:
    match recorded.event:
        case CheckpointSaved() as e:
            saved = Checkpoint(
                e.path, e.run, e.step, e.global_step, recorded.seq, e.manifest_sha256, e.weights_sha256,
                e.size_bytes, e.reason, at=recorded.at,
            )  # fmt: skip
            return replace(state, checkpoints=state.checkpoints.set(e.path, saved))
        case CheckpointQuarantined(path=path) if path in state.checkpoints:
            return _mark(state, path, "quarantined")
        case CheckpointRetired(path=path) if path in state.checkpoints:
            return _mark(state, path, "retired")
        case CheckpointDeleted(path=path) if path in state.checkpoints:
            return replace(state, checkpoints=state.checkpoints.delete(path))
        case BackupStarted() as e:
            clock = max(state.backup_clock, recorded.at)
            begun = Backup(e.backup, e.target, recorded.seq, recorded.at, clock=clock)
            backups = state.backups.set(e.backup, begun)
            return replace(state, backups=backups, backups_begun=state.backups_begun + 1, backup_clock=clock)
        case BackupTaken() as e:
            return _backup(
                state, e.backup, state="taken", manifest_sha256=e.manifest_sha256, versions=e.versions,
                checkpoints=e.checkpoints, log_seq=e.log_seq, log_hash=e.log_hash, objects=e.objects,
                size_bytes=e.size_bytes, added_bytes=e.added_bytes,
            )  # fmt: skip
        case BackupVerified(backup=backup):
            state = replace(state, backup_failures=0, backup_ended_at=recorded.at)
            return _backup(state, backup, state="verified", verified_at=recorded.at, reason=None)
        case BackupFailed(backup=backup, reason=reason):
            failures = state.backup_failures + 1
            state = replace(state, backup_failures=failures, backup_ended_at=recorded.at)
            return _backup(state, backup, state="failed", reason=reason)
        case BackupDamaged(backup=backup, problems=problems):
            return _backup(state, backup, state="damaged", reason="; ".join(problems))
        case BackupRetired(backup=backup, reason=reason):
            return _backup(state, backup, state="retired", reason=reason)
        case BackupDeleted(backup=backup) if backup in state.backups:
            return replace(state, backups=state.backups.delete(backup))
        case DiskCleaned(freed_bytes=freed, reason=reason):
            return replace(state, cleaned=Cleaned(recorded.seq, recorded.at, freed, reason))
        case _:
            return state


def _mark(state: Storage, path: str, how: str) -> Storage:
    marked = replace(state.checkpoints[path], state=how)
    return replace(state, checkpoints=state.checkpoints.set(path, marked))


def _backup(state: Storage, backup: str, /, **changes: Any) -> Storage:
    if backup not in state.backups:
        return state
    return replace(state, backups=state.backups.set(backup, replace(state.backups[backup], **changes)))
