"""Backup: taken, read back, restored on trial and only then counted; deleted when condemned or failed."""

import shutil
import time
from collections.abc import Callable
from hashlib import sha256 as sha256_of_bytes
from pathlib import Path

from core.decide import backup as decide
from core.decide.retention import DEPENDS_ON as RETIRE_ON
from core.decide.retention import retire_backups
from core.jobs.packing import BaseDamaged
from core.jobs.service import Service
from core.jobs.storing import BackupUnsound, Short, ensure, ensure_whole, going, mend, write
from core.jobs.validate import Interrupted
from core.logbook import state_at
from core.store.checking import reach
from core.store.manifest import Manifest, ManifestDamaged
from core.store.objects import Store, manifest_name
from core.store.places import Folder, StoreFailed
from core.store.restoring import clear, rehearse
from events.log import now_us
from events.types import (
    AlertCleared,
    AlertRaised,
    BackupDeleted,
    BackupStarted,
    BackupTaken,
    Event,
)
from projections.fold import State, digest
from projections.storage import Backup

AGAIN_SECONDS = 600.0


class Backups:
    """The job; remembers when a target that could not be reached may be asked again, and what did not fit."""

    def __init__(self) -> None:
        self._not_before = 0.0
        self._short: Short | None = None
        self._read_again = 0.0

    def turn(self, service: Service) -> None:
        """Finish what a crash cut short, or begin what is due; then delete what may go.

        Raises Short when it would not fit: the same backup goes on once there is space.
        """
        short = None
        try:
            self._back_up(service)
        except Short as error:
            short = error
        if time.monotonic() >= self._not_before and not delete(service):  # which may make the room
            self._not_before = time.monotonic() + AGAIN_SECONDS
        if short is not None:
            raise short

    def _back_up(self, service: Service) -> None:
        if self._short is not None and time.monotonic() < self._read_again:
            ensure(service, self._short.what, self._short.needs)  # no file is read only to find this again
        self._short = None
        try:
            taken = backup(service)
        except Short as error:
            self._short, self._read_again = error, time.monotonic() + AGAIN_SECONDS
            raise
        if taken:
            self._not_before = 0.0
            keep = service.settings().backup.keep
            service.decide(lambda state: retire_backups(state, keep), RETIRE_ON)


def backup(service: Service) -> bool:
    """Take the backup that is under way, or the one that begins now. True: there was one.

    Raises Short when it would not fit, and Interrupted: it is still under way then.
    """
    if not service.state().storage.backups_in(*decide.UNDER_WAY):
        service.decide(lambda state: decide.begin(state, now_us()), decide.DEPENDS_ON)
    under_way = service.state().storage.backups_in(*decide.UNDER_WAY)
    scratch = service.workspace.temporary / "backup"
    if not under_way:
        _remove(scratch)  # what a kill left of one that had ended
        return False
    one = under_way[0]
    request = _request(service, one)
    began = time.monotonic()
    try:
        if decide.is_hopeless(service.state(), one):
            raise BackupUnsound(f"the daemon died {decide.MOST_DEATHS} times while it was taken")
        _take(service, one, clear(scratch))
    except Interrupted:
        raise
    except Exception as error:  # whatever a file system of somebody's making raises: a fact, and another try
        if isinstance(error, Short) and one.target == service.settings().backup.target:
            raise  # with another target set, the next one may fit there
        reason = _reason(error)
        _end(service, lambda state: decide.failed(state, one.id, reason, request))
    else:
        seconds = round(time.monotonic() - began, 3)
        _end(service, lambda state: decide.verified(state, one.id, seconds, request))
    finally:
        _remove(scratch)
    return True


def _remove(scratch: Path) -> None:
    if scratch.is_dir():
        shutil.rmtree(scratch)


def _end(service: Service, question: Callable[[State], list[Event]]) -> None:
    service.decide(question, decide.ENDS_ON)


def _request(service: Service, one: Backup) -> int | None:
    recorded = service.log.get(one.started)
    return recorded.event.request if recorded and isinstance(recorded.event, BackupStarted) else None


def _reason(error: Exception) -> str:
    known = isinstance(error, StoreFailed | ManifestDamaged | BackupUnsound | BaseDamaged | Short)
    return (str(error) if known else f"{type(error).__name__}: {error}")[:400]


# -- take ------------------------------------------------------------------------------------------------


def _take(service: Service, one: Backup, scratch: Path) -> None:
    """Everything up to the proof; what is there already is not written again. Raises what goes wrong."""
    store = _store(service, one)
    manifest, packed, added = _whole(service, store, one), None, 0
    if manifest is None:
        packed, added = write(service, store, one, scratch)
        manifest = packed.manifest
    if one.state == "writing":
        _tell_taken(service, store, one, manifest, added)
    ensure_whole(service, store, manifest, one)
    expected = digest(state_at(service.log, manifest.log[0]))
    flaws = rehearse(store, manifest, clear(scratch / "rehearsal"), expected, going(service))
    if flaws and mend(service, store, manifest, packed, flaws):
        flaws = rehearse(store, manifest, clear(scratch / "rehearsal"), expected, going(service))
    if flaws:
        raise BackupUnsound(f"restored on trial, {flaws[0]}")


def _store(service: Service, one: Backup) -> Store:
    """Where it goes: never into the place where a disk with older ones should be mounted."""
    root = service.workspace.root
    store = Store.at(one.target, root)
    if isinstance(store.where, Folder) and not store.where.root.resolve().is_relative_to(root.resolve()):
        return reach(one.target, root, service.state().storage.backups_in())
    return store  # inside the workspace, what is gone was deleted by a hand, and begins anew


def _whole(service: Service, store: Store, one: Backup) -> Manifest | None:
    """The manifest of this very backup, if a crash came after it was placed."""
    if store.where.size(manifest_name(one.id)) is None:
        return None
    found = store.manifest(one.id)
    if not _is_ours(service, one, found):
        raise StoreFailed(
            f"{one.target} holds another workspace's {one.id}: give this one a backup.target of its own"
        )
    return found


def _is_ours(service: Service, one: Backup, manifest: Manifest) -> bool:
    """Did this log begin it, or does another workspace use the same target?"""
    return manifest.started == (one.started, service.log.commit_of(one.started)[1].hex())


def _tell_taken(service: Service, store: Store, one: Backup, manifest: Manifest, added: int) -> None:
    service.append(
        BackupTaken(
            backup=one.id,
            target=one.target,
            manifest_sha256=sha256_of_bytes(store.raw(one.id)).hexdigest(),
            versions=manifest.versions,
            checkpoints=manifest.checkpoints,
            log_seq=manifest.log[0],
            log_hash=manifest.log[1],
            objects=len(manifest.objects),
            size_bytes=manifest.size_bytes,
            added_bytes=added,
            seconds=round(max(0, now_us() - one.at) / 1e6, 3),
        )
    )


# -- delete ----------------------------------------------------------------------------------------------


def delete(service: Service) -> bool:
    """Delete condemned and failed backups: the manifest, then what nothing names any more, then the fact.

    Finishes what a crash cut short; takes no space. False: a target could not be reached.
    """
    with service.deletions:
        return all([_delete(service, one) for one in decide.doomed(service.state())])


def _delete(service: Service, one: Backup) -> bool:
    undeletable = f"the backup {one.id} could not be deleted"
    raised = service.state().health.alerts.get("backup")
    try:
        store = reach(one.target, service.workspace.root, service.state().storage.backups_in())
        if not _is_strange(service, store, one):
            store.drop(one.id)
        freed = store.sweep()
    except (StoreFailed, OSError) as error:
        if raised is None:
            detail = f"{undeletable}: {_reason(error)}"
            service.append(AlertRaised(severity="warning", type="backup", detail=detail))
        return False
    calm = [AlertCleared(type="backup")] if raised and raised.detail.startswith(undeletable) else []
    service.append(BackupDeleted(backup=one.id, freed_bytes=freed), *calm)
    return True


def _is_strange(service: Service, store: Store, one: Backup) -> bool:
    """Does another workspace's backup stand under this name? One that cannot be read is taken for ours."""
    try:
        return not _is_ours(service, one, store.manifest(one.id))
    except ManifestDamaged:
        return False
