"""Versions: pins and restores are answered, and the current model is kept at what the log says."""

from core.decide import versions as decide
from core.inspection import folder_problems
from core.jobs.publish import is_shown, show_current, stage
from core.jobs.service import Service
from core.tensors import TensorsUnreadable, nonfinite
from events.types import CheckpointQuarantined
from projections.control import Request
from projections.fold import State
from projections.standing import moments_of
from projections.versions import Version

HALTS = ("StopRequested", "SkipRequested", "PauseRequested")


def keep_versions(service: Service) -> None:
    """Answer what may be answered, the oldest first; finish a switch that was cut short."""
    while (request := _next(service.state())) is not None:
        answer = restore if request.type == "RestoreRequested" else _pin
        if not answer(service, request):
            break
    if not is_shown(service, service.state()):
        show_current(service)


def _next(state: State) -> Request | None:
    request = state.control.first("PinRequested", "UnpinRequested", "RestoreRequested")
    if request is None or request.type != "RestoreRequested":
        return request
    # a stop that was asked for before it frees the way: that comes first
    earlier = (other for other in state.control.pending if other.seq < request.seq)
    return None if any(other.type in HALTS for other in earlier) else request


def _pin(service: Service, request: Request) -> bool:
    return bool(
        service.decide(
            lambda state: decide.pinned(state, request) if request in state.control.pending else [],
            decide.ANSWERS_DEPEND_ON,
        )
    )


def restore(service: Service, request: Request) -> bool:
    """Verify, stage, tell, switch; what is refused leaves all as it was. False: look again.

    A crash before the fact leaves the request open and staged files, which the next try uses or removes; one
    after it leaves a switch that `show_current` finishes.
    """
    if service.decide(lambda state: decide.unrestorable(state, request), decide.ANSWERS_DEPEND_ON):
        return True
    version = service.state().versions.versions[request.version or ""]
    if problems := damage(service, version):
        service.append(*decide.damaged(version, request, problems))
        return True
    checkpoint = _moments(service, version)
    try:
        stage(service, service.workspace.root / version.path)
    except OSError as error:
        why = error.strerror or type(error).__name__
        service.append(*decide.unstageable(version, request, why))
        show_current(service)
        return True
    told = service.decide(lambda s: decide.restored(s, request, checkpoint), decide.ANSWERS_DEPEND_ON)
    show_current(service)
    return bool(told)


def damage(service: Service, version: Version) -> list[str]:
    """What is wrong with a version: bytes that differ from its manifest, or weights that are not finite."""
    folder = service.workspace.root / version.path
    problems = folder_problems(folder, version.manifest_sha256)
    if problems:
        return problems
    try:
        return [
            f"{name} of {path.name} is not finite"
            for path in sorted(folder.glob("*.safetensors"))
            for name in nonfinite(path)
        ]
    except TensorsUnreadable as error:
        return [str(error)]


def _moments(service: Service, version: Version) -> str | None:
    """The newest resume point with this version's weights that verifies; a damaged one is quarantined."""
    for checkpoint in moments_of(service.state(), version.id):
        problems = folder_problems(service.workspace.root / checkpoint.path, checkpoint.manifest_sha256)
        if not problems:
            return checkpoint.path
        service.append(CheckpointQuarantined(path=checkpoint.path, problems=tuple(problems)))
    return None
