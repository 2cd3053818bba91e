"""What does a version's manifest say, and what is answered to those who pin or restore one?"""

from typing import Any

from core.decide import resume
from events.types import (
    CheckpointRetired,
    DriftFound,
    Event,
    RequestRefused,
    TrainingCompleted,
    VersionPinned,
    VersionPublished,
    VersionRestored,
    VersionRetired,
    VersionUnpinned,
)
from projections.control import Request
from projections.fold import State
from projections.run import Run
from projections.standing import obstacles
from projections.status import iso
from projections.versions import Due, Version

#: A version's number and parent rest on these.
DEPENDS_ON: tuple[type[Event], ...] = (VersionPublished, TrainingCompleted)

#: So does the answer to a request.
ANSWERS_DEPEND_ON: tuple[type[Event], ...] = (
    *resume.DEPENDS_ON,
    CheckpointRetired,
    VersionRetired,
    VersionPinned,
    VersionUnpinned,
    RequestRefused,
)


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


# -- requests ------------------------------------------------------------------------------------


def pinned(state: State, request: Request) -> list[Event]:
    """The answer to a PinRequested or UnpinRequested."""
    if refused := _missing(state, request):
        return refused
    version = state.versions.versions[request.version or ""]
    if request.type == "PinRequested":
        if version.pinned:
            return _refuse(request, f"{version.id} is pinned already")
        return [VersionPinned(version=version.id, request=request.seq)]
    if not version.pinned:
        return _refuse(request, f"{version.id} is not pinned")
    return [VersionUnpinned(version=version.id, request=request.seq)]


def unrestorable(state: State, request: Request) -> list[Event]:
    """The refusal of a RestoreRequested as far as the log can tell; empty: nothing speaks against it."""
    version = state.versions.versions.get(request.version or "")
    if version is None:
        return _missing(state, request)
    for reason in obstacles(state, version):
        return [RequestRefused(request=request.seq, reason=reason)]
    return []


def restored(state: State, request: Request, checkpoint: str | None) -> list[Event]:
    """The fact of a restore. `checkpoint`: the verified resume point with its moments; None: there is none.

    Empty when that resume point is no longer there: another must be looked for.
    """
    if request not in state.control.pending:
        return []
    if refused := unrestorable(state, request):
        return refused
    if checkpoint is not None and all(c.path != checkpoint for c in state.storage.usable):
        return []
    version = state.versions.versions[request.version or ""]
    return [
        VersionRestored(
            version=version.id,
            before=state.versions.current,
            global_step=version.global_step,
            checkpoint=checkpoint,
            moments="kept" if checkpoint is not None else "fresh",
            request=request.seq,
        )
    ]


def damaged(version: Version, request: Request, problems: list[str]) -> list[Event]:
    """A restore refused for what was found in the version's files, and the drift itself."""
    found = "; ".join(problems[:3])
    check = f"evertrain versions verify {version.id}"
    return [
        *_refuse(
            request,
            f"{version.id} is damaged ({found}); put its folder back from a backup, or restore another",
        ),
        DriftFound(
            kind="version",
            path=version.path,
            detail=found,
            remedy=f"put {version.path} back from a backup, then check it with `{check}`",
        ),
    ]


def unstageable(version: Version, request: Request, error: str) -> list[Event]:
    """A restore refused because its files could not be put beside their place."""
    return _refuse(request, f"the files of {version.id} cannot be made ready ({error}): make space, then ask")


def _missing(state: State, request: Request) -> list[Event]:
    version = state.versions.versions.get(request.version or "")
    if version is None:
        return _refuse(request, f"there is no version {request.version}: see evertrain versions list")
    if version.state != "kept":
        return _refuse(request, f"{version.id} is {version.state}: only its facts are left")
    return []


def _refuse(request: Request, reason: str) -> list[Event]:
    return [RequestRefused(request=request.seq, reason=reason)]
