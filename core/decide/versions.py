"""Which version is due, and what does its manifest say?"""

from typing import Any

from events.types import Event, TrainingCompleted, VersionPublished
from projections.fold import State
from projections.run import Run
from projections.status import iso
from projections.versions import Due

#: A version's number and parent rest on these.
DEPENDS_ON: tuple[type[Event], ...] = (VersionPublished, TrainingCompleted)


def manifest(
    state: State, due: Due, files: dict[str, dict[str, Any]], log_seq: int, log_hash: str
) -> dict[str, Any]:
    """The manifest of the version that is due: of the log up to the run's end, so a second try says the same.

    `files`: name → {sha256, size_bytes}. `log_seq`, `log_hash`: the commit of that end and its chain head.
    """
    run, created = state.run.runs[due.event.run], state.workspace.created
    assert created is not None
    return {
        "id": state.versions.next_id,
        "created_at": iso(due.at),
        "parent": run.parent,
        "base_model": {"name": created.model_name, "sha256": created.base_sha256},
        "run": run.id,
        "file": run.file,
        "file_sha256": run.sha256,
        "global_step": due.event.global_step,
        "loss": due.event.loss,
        "validation_loss": due.event.validation_loss,
        "fixed_validation_loss": _fixed_loss(run, due),
        "config_sha256": run.config_sha256,
        "files": files,
        "log": {"seq": log_seq, "hash": log_hash},
    }


def _fixed_loss(run: Run, due: Due) -> float | None:
    """The loss on the fixed set, if it was measured at the run's end."""
    return run.fixed.loss if run.fixed is not None and run.fixed.step == due.event.steps else None


def published(
    state: State, due: Due, document: dict[str, Any], manifest_sha256: str, path: str
) -> VersionPublished:
    """The fact of that version."""
    files = document["files"]
    return VersionPublished(
        version=document["id"],
        parent=document["parent"],
        run=document["run"],
        file=document["file"],
        sha256=document["file_sha256"],
        global_step=document["global_step"],
        loss=due.event.loss,
        validation_loss=due.event.validation_loss,
        path=path,
        manifest_sha256=manifest_sha256,
        weights_sha256=files["model.safetensors"]["sha256"],
        size_bytes=sum(file["size_bytes"] for file in files.values()),
        log_seq=document["log"]["seq"],
        log_hash=document["log"]["hash"],
        fixed_validation_loss=document["fixed_validation_loss"],
    )
