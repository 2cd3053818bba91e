"""Storing: the objects of a backup are written, around what is damaged; damaged objects are written anew."""

from collections.abc import Callable, Iterator
from pathlib import Path

from core.inspection import REMEDIES
from core.jobs.packing import Damaged, Packed, Shifting, pack
from core.jobs.service import Service
from core.jobs.validate import Interrupted
from core.space import ensure_room, floor_of
from core.store.manifest import Manifest
from core.store.objects import Store
from core.store.places import Changed, Folder
from core.store.restoring import Flaw, rehearsal_bytes
from db.reserve import NoRoom
from events.types import CheckpointQuarantined, DriftFound
from projections.fold import State
from projections.storage import Backup

BESIDE = 1 << 20  # bytes of folders, manifests and half-filled blocks
#: How often the files may shift under it before a backup gives up for now.
TRIES = 5


class BackupUnsound(Exception):
    """What came back from the store is not what went in, or could not go in."""


class Short(NoRoom):
    """A backup would not fit; `needs`: the bytes it asked for, the copy of the log among them."""

    def __init__(self, what: str, needs: float, shortage: str) -> None:
        super().__init__(shortage)
        self.what, self.needs = what, needs


def ensure(service: Service, what: str, needs: float, held: float = 0.0) -> None:
    """Raise Short unless so many bytes leave the floor free. `held`: what it takes already."""
    place = service.workspace
    try:
        ensure_room(place, what, needs, above=floor_of(place, service.settings().disk_floor_gb))
    except NoRoom as error:
        raise Short(what, needs + held, error.shortage) from error


def ensure_copy(service: Service, one: Backup) -> None:
    """Is there room to copy the log? Raises Short."""
    ensure(service, named(one), _log_bytes(service) + BESIDE)


def ensure_whole(service: Service, store: Store, manifest: Manifest, one: Backup, held: float = 0.0) -> None:
    """Is there room for what the store, if it is on this disk, and the rehearsal will take? Raises Short."""
    needs = rehearsal_bytes(manifest) + BESIDE
    if _is_on_this_disk(service, store):
        needs += sum(size for sha, size in manifest.objects.items() if not store.has(sha, size))
    ensure(service, named(one), needs, held)


def named(one: Backup) -> str:
    """How it is called where it waits."""
    return f"the backup {one.id}"


def _log_bytes(service: Service) -> int:
    log = service.workspace.log
    return sum(path.stat().st_size for path in (log, log.with_name(f"{log.name}-wal")) if path.exists())


def _is_on_this_disk(service: Service, store: Store) -> bool:
    if not isinstance(store.where, Folder):
        return False
    there = next(path for path in (store.where.root, *store.where.root.parents) if path.exists())
    return there.stat().st_dev == service.workspace.root.stat().st_dev


def going(service: Service) -> Callable[[], None]:
    """Called between two parts of long work: raises Interrupted when the service stops."""

    def go_on() -> None:
        if service.stop.is_set():
            raise Interrupted

    return go_on


def write(service: Service, store: Store, one: Backup, scratch: Path) -> tuple[Packed, int]:
    """Plan, objects, manifest; gives the bytes that were new, too.

    What shifts meanwhile is looked at again; what is damaged or missing stays out, visibly, however much.
    Raises Short before the first object, when they and the rehearsal would not fit.
    """
    without: frozenset[str] = frozenset()
    shifts = 0
    while shifts < TRIES:
        try:
            ensure_copy(service, one)
            packed = pack(service, one, scratch, without)
            ensure_whole(service, store, packed.manifest, one, held=_log_bytes(service))
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
