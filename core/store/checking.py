"""Checking: is the store there, and is every byte of the backups still what was written?"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from core.store.manifest import Manifest, ManifestDamaged
from core.store.objects import BACKUPS, Store, manifest_name, object_name
from core.store.places import Folder, StoreFailed, is_local
from events.verify import Problem
from projections.fold import State
from projections.storage import Backup

#: What can be restored, or could be.
WHOLE = ("taken", "verified", "damaged")


def reach(target: str, root: Path, known: Iterable[Backup]) -> Store:
    """The store of a target. `known`: the backups of the log, at whatever target.

    Raises StoreFailed also when nothing of what must be there is: so an unmounted disk looks, and a folder
    that was moved away, and of what they hold nothing is damaged or deleted.
    """
    store = Store.at(target, root)
    taken = [backup for backup in known if backup.target == target and backup.manifest_sha256]
    if not taken or store.backups():
        return store
    if all(backup.state not in WHOLE for backup in taken) and not _is_absent(store):
        return store  # the last of them was deleted a moment ago
    names = ", ".join(backup.id for backup in taken)
    raise StoreFailed(
        f"{target} holds no backup, the log knows {names} there: mount its disk, or put the folder back; "
        "if it is gone for good, set another backup.target"
    )


def _is_absent(store: Store) -> bool:
    """Is there not even the folder of the manifests? Elsewhere than on a disk there are no folders."""
    return isinstance(store.where, Folder) and not (store.where.root / BACKUPS).is_dir()


class Check:
    """Reads each object of a store once, however many backups it belongs to."""

    def __init__(self, store: Store, target: str, read: Callable[[str], bool]) -> None:
        self.store = store
        self._target, self._read = target, read
        self._known: dict[str, str | None] = {}

    def problems(self, backup: str, manifest_sha256: str | None) -> Iterator[tuple[str, str]]:
        """(name in the store, what is wrong). `manifest_sha256`: what the log says, where there is a log."""
        name = manifest_name(backup)
        try:
            manifest = self.store.manifest(backup)
            raw = self.store.raw(backup)
        except (ManifestDamaged, FileNotFoundError) as error:
            yield name, str(error)
            return
        if manifest_sha256 is not None and hashlib.sha256(raw).hexdigest() != manifest_sha256:
            yield name, "is not the manifest that the log knows"
            return
        yield from self._objects(manifest)

    def _objects(self, manifest: Manifest) -> Iterator[tuple[str, str]]:
        named: dict[str, list[str]] = {}
        for file, entry in sorted(manifest.files.items()):
            named.setdefault(entry.sha256, []).append(file)
        for sha256, size in manifest.objects.items():
            if sha256 not in self._known:
                read = self._read(f"{self._target}/{object_name(sha256)}")
                self._known[sha256] = self.store.problem(sha256, size, read=read)
            if (problem := self._known[sha256]) is not None:
                yield object_name(sha256), f"{problem} ({', '.join(named[sha256])})"


def backup_problems(root: Path, state: State, read: Callable[[str], bool]) -> Iterator[Problem]:
    """What is wrong with the backups on this machine; those elsewhere are left out.

    `read`: is every byte of this path (target and object) to be read, or is its size enough?
    """
    here = [b for b in state.storage.backups_in(*WHOLE) if is_local(b.target)]
    for target in dict.fromkeys(backup.target for backup in here):
        there = tuple(backup for backup in here if backup.target == target)
        try:
            for backup, problems in check_all(root, there, read=read):
                for name, detail in problems:
                    yield Problem("backup", backup.started, f"{target}/{name}", f"{backup.id}: {detail}")
        except StoreFailed as error:
            yield Problem("backup_missing", there[0].started, target, str(error))


def check_all(
    root: Path, backups: tuple[Backup, ...], read: Callable[[str], bool] = lambda path: True
) -> Iterator[tuple[Backup, list[tuple[str, str]]]]:
    """Each backup with what is wrong with it; `read`: which objects are read, and not only measured.

    Raises StoreFailed for a target that cannot be reached, or where nothing is.
    """
    checks: dict[str, Check] = {}
    for backup in backups:
        if backup.target not in checks:
            checks[backup.target] = Check(reach(backup.target, root, backups), backup.target, read)
        yield backup, list(checks[backup.target].problems(backup.id, backup.manifest_sha256))
