"""Checking: is every byte of the backups still what was written?"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from core.store.manifest import Manifest, ManifestDamaged
from core.store.objects import Store, manifest_name, object_name
from core.store.places import is_local
from events.verify import Problem
from projections.fold import State
from projections.storage import Backup

#: What can be restored, or could be.
WHOLE = ("taken", "verified", "damaged")


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
    here = tuple(b for b in state.storage.backups_in(*WHOLE) if is_local(b.target))
    for backup, problems in check_all(root, here, read=read):
        for name, detail in problems:
            yield Problem("backup", backup.started, f"{backup.target}/{name}", f"{backup.id}: {detail}")


def check_all(
    root: Path, backups: tuple[Backup, ...], read: Callable[[str], bool] = lambda path: True
) -> Iterator[tuple[Backup, list[tuple[str, str]]]]:
    """Each backup with what is wrong with it; `read`: which objects are read, and not only measured.

    Raises StoreFailed for a target that cannot be reached.
    """
    checks: dict[str, Check] = {}
    for backup in backups:
        if backup.target not in checks:
            checks[backup.target] = Check(Store.at(backup.target, root), backup.target, read)
        yield backup, list(checks[backup.target].problems(backup.id, backup.manifest_sha256))
