"""Retention: what the policies do not keep goes; first the word, then the deed, then the fact."""

import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from core.decide.retention import DEPENDS_ON, retire_checkpoints, retire_versions
from core.files import fsync_folder, sha256_of
from core.jobs.service import Service
from events.types import CheckpointDeleted, Event, VersionDeleted
from projections.fold import State
from projections.storage import Checkpoint
from projections.versions import Version

EVERY = 3600.0  # seconds between two looks at the versions while none is published
MANIFEST = "manifest.json"


class Retention:
    """The job: resume points at each turn, versions after each publication and hourly.

    An hour, because a slip in `versions_keep` should leave a person time to see and mend it.
    """

    def __init__(self) -> None:
        self._published = -1
        self._due = 0.0

    def work(self, service: Service) -> None:
        published = len(service.state().versions.order)
        if published == self._published and time.monotonic() < self._due:
            thin_checkpoints(service)
            return
        retention(service)
        self._published, self._due = published, time.monotonic() + EVERY


def retention(service: Service) -> None:
    """Condemn what may go, and delete what is condemned; finishes what a crash cut short."""
    keep = service.settings().versions_keep
    service.decide(lambda state: retire_versions(state, keep), DEPENDS_ON)
    try:
        _delete_all(
            service,
            lambda state: [(one, VersionDeleted(version=one.id)) for one in state.versions.retired],
        )
    finally:
        thin_checkpoints(service)


def thin_checkpoints(service: Service) -> None:
    """The same for resume points alone."""
    keep = service.settings().checkpoints_keep
    service.decide(lambda state: retire_checkpoints(state, keep), DEPENDS_ON)
    _delete_all(
        service, lambda state: [(one, CheckpointDeleted(path=one.path)) for one in state.storage.retired]
    )


def _delete_all(
    service: Service, condemned: Callable[[State], Sequence[tuple[Version | Checkpoint, Event]]]
) -> None:
    """Delete each, and tell. One that cannot be deleted keeps no other; the first failure is raised last."""
    failed: list[OSError] = []
    with service.deletions:
        for one, fact in condemned(service.state()):
            try:
                _delete(service.workspace.root / one.path, one.manifest_sha256)
            except OSError as error:
                failed.append(error)
            else:
                service.append(fact)
    if failed:
        raise failed[0]


def _delete(folder: Path, manifest_sha256: str) -> None:
    """Rename aside, then delete: a folder with its own name is whole, also after a crash. Needs no space.

    By identity: a folder with another manifest is not the one that was condemned, and stays.
    """
    aside = folder.with_name(f".{folder.name}.deleting")
    if aside.exists():
        shutil.rmtree(aside)
    if folder.is_dir() and not folder.is_symlink() and _is_it(folder / MANIFEST, manifest_sha256):
        os.rename(folder, aside)
        fsync_folder(folder.parent)
        shutil.rmtree(aside)
    fsync_folder(folder.parent)


def _is_it(manifest: Path, manifest_sha256: str) -> bool:
    return not manifest.exists() or sha256_of(manifest) == manifest_sha256
