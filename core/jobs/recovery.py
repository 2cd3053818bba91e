"""Recovery: a whole workspace from a backup, checked while it is written, staged and renamed."""

import os
import shutil
from pathlib import Path

from core.decide.backup import settle
from core.files import fsync_folder
from core.jobs.publish import show_current
from core.jobs.service import Service
from core.logbook import open_log
from core.store.manifest import Manifest
from core.store.objects import Store
from core.store.places import GoOn, proceed
from core.store.restoring import Flaw, clear, examine, restore
from db.workspace import Workspace
from projections.fold import State


class Unrestorable(Exception):
    """The backup is damaged: what is wrong with it."""

    def __init__(self, backup: str, flaws: list[Flaw]) -> None:
        super().__init__(f"{backup} is damaged and was not restored: {flaws[0]}")
        self.flaws = flaws


class Occupied(Exception):
    """There is something where the workspace should come to lie."""


def recover(store: Store, backup: str, folder: Path, go_on: GoOn = proceed) -> Manifest:
    """The backup as a workspace at `folder`, which must be empty or absent: whole, or not there at all.

    Raises Occupied, Unrestorable, ManifestDamaged, StoreFailed. Needs neither the old workspace nor its log.
    """
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise Occupied(f"{folder} is not an empty folder: choose another; nothing was changed")
    manifest = store.manifest(backup)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = clear(folder.with_name(f".{folder.name}.restoring"))
    try:
        flaws = restore(store, manifest, staged, go_on) or examine(manifest, staged)
        if flaws:
            raise Unrestorable(backup, flaws)
        _make_whole(Workspace(staged), manifest)
        os.rename(staged, folder)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    fsync_folder(folder.parent)
    return manifest


def _make_whole(place: Workspace, manifest: Manifest) -> None:
    """What a backup leaves out because it can be made again; and the log learns what did not come with it."""
    place.lay_out()
    log = open_log(place, "cli")
    try:
        service = Service(place, log)
        state = service.state()
        log.append(*settle(state, frozenset(manifest.files), manifest.id, _staying(state)))
        if _current(service).is_dir():
            show_current(service)
    finally:
        log.close()
    for made in [place.root, *(path for path in place.root.rglob("*") if path.is_dir())]:
        fsync_folder(made)


def _current(service: Service) -> Path:
    versions = service.state().versions
    if versions.current is None:
        return service.base()
    return service.workspace.root / versions.versions[versions.current].path


def _staying(state: State) -> frozenset[str]:
    """Backups whose store lies outside the old workspace: they are still there."""
    return frozenset(b.id for b in state.storage.backups_in() if "://" in b.target or b.target[:1] in "/~")
