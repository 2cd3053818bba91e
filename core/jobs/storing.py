"""Storing: the objects of a backup are written, around what is damaged; damaged objects are written anew."""

from collections.abc import Callable, Iterator
from pathlib import Path

from core.inspection import REMEDIES
from core.jobs.packing import Damaged, Packed, Shifting, pack
from core.jobs.service import Service
from core.jobs.validate import Interrupted
from core.store.manifest import Manifest
from core.store.objects import Store
from core.store.places import Changed
from core.store.restoring import Flaw
from events.types import CheckpointQuarantined, DriftFound
from projections.fold import State
from projections.storage import Backup

#: How often the files may shift under it before a backup gives up for now.
TRIES = 5


class BackupUnsound(Exception):
    """What came back from the store is not what went in, or could not go in."""


def going(service: Service) -> Callable[[], None]:
    """Called between two parts of long work: raises Interrupted when the service stops."""

    def go_on() -> None:
        if service.stop.is_set():
            raise Interrupted

    return go_on


def write(service: Service, store: Store, one: Backup, scratch: Path) -> tuple[Packed, int]:
    """Plan, objects, manifest; gives the bytes that were new, too.

    What shifts meanwhile is looked at again; what is damaged or missing stays out, visibly, however much.
    """
    without: frozenset[str] = frozenset()
    shifts = 0
    while shifts < TRIES:
        try:
            packed = pack(service, one, scratch, without)
            added = _put(service, store, packed)
        except Shifting:
            shifts += 1
        except Damaged as damage:
            kind = _kind(service.state(), damage)
            if kind is None or damage.path in without:
                shifts += 1
                continue
            without |= {damage.path}
            _tell_damage(service, kind, damage)
        else:
            store.complete(packed.manifest)
            return packed, added
    raise BackupUnsound("files went or changed under every look: it is tried again later")


def _put(service: Service, store: Store, packed: Packed) -> int:
    """Write the objects that are not there yet; gives their bytes."""
    store.plan(packed.manifest)
    added = 0
    for sha256, size in packed.manifest.objects.items():
        if store.has(sha256, size):
            continue
        try:
            store.put(sha256, packed.sources[sha256], going(service))
        except (Changed, FileNotFoundError) as error:
            if sha256 in packed.owners:
                owner = packed.owners[sha256]
                missing = not (service.workspace.root / owner).exists()
                raise Damaged(owner, str(error), missing=missing) from error
            raise Shifting(str(error)) from error
        added += size
    return added


def _kind(state: State, damage: Damaged) -> str | None:
    """The kind of problem that its damage is, as an inspection would say it.

    None: it need not be there, a job took it away meanwhile; or it is a waiting file that is on its way.
    """
    missing = "_missing" if damage.missing else ""
    if damage.path in {known.path for known in state.versions}:
        return f"version{missing}"
    if damage.path in {point.path for point in state.storage.usable}:
        return f"checkpoint{missing}"
    placed = {entry.placed for entry in state.queue.entries.values() if not entry.lost}
    return "file_changed" if damage.path in placed and not missing else None


def _tell_damage(service: Service, kind: str, damage: Damaged) -> None:
    """One fact; a damaged resume point is set aside as well, a missing one is not: its disk may come back."""
    known = {(drift.kind, drift.path) for drift in service.state().health.drifts}
    if (kind, damage.path) in known:
        return
    detail = f"{damage.what}: it is not in the new backup"
    service.append(DriftFound(kind=kind, path=damage.path, detail=detail, remedy=REMEDIES[kind]))
    if kind == "checkpoint":
        service.append(CheckpointQuarantined(path=damage.path, problems=(damage.what,)))


def mend(
    service: Service, store: Store, manifest: Manifest, packed: Packed | None, flaws: list[Flaw]
) -> bool:
    """Write damaged objects anew from live files that still have their bytes. True: some were.

    `packed`: what the backup was written of; None after a crash, when only its manifest is left.
    """
    written = False
    for sha256 in sorted({flaw.sha256 for flaw in flaws if flaw.sha256 is not None}):
        for path in _sources(service.workspace.root, manifest, packed, sha256):
            try:
                store.put(sha256, path, going(service))
            except (Changed, FileNotFoundError):
                continue  # another file may have them still
            written = True
            break
    return written


def _sources(root: Path, manifest: Manifest, packed: Packed | None, sha256: str) -> Iterator[Path]:
    """Files that had these bytes when the backup was made."""
    if packed is not None and sha256 in packed.sources:
        yield packed.sources[sha256]
    yield from (root / name for name, entry in manifest.files.items() if entry.sha256 == sha256)
