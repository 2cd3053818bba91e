"""Retention: resume points beyond the policy go; first the word, then the deed, then the fact."""

import shutil

from core.decide.retention import DEPENDS_ON, retire
from core.files import fsync_folder
from core.jobs.service import Service
from events.types import CheckpointDeleted


def retention(service: Service) -> None:
    """Condemn what may go, and delete what is condemned; finishes what a crash cut short."""
    keep = service.settings().checkpoints_keep
    service.decide(lambda state: retire(state, keep), DEPENDS_ON)
    for checkpoint in service.state().storage.retired:
        folder = service.workspace.root / checkpoint.path
        shutil.rmtree(folder, ignore_errors=False) if folder.is_dir() else None
        fsync_folder(folder.parent)
        service.append(CheckpointDeleted(path=checkpoint.path))
