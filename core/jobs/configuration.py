"""Configuration: an edit of config.json becomes a fact; a wrong one is refused and the old stays in force."""

from core.config import ConfigInvalid, changes, digest, load, plain
from core.jobs.service import Service
from events.types import AlertCleared, AlertRaised, ConfigChanged, ConfigRefused


def configuration(service: Service) -> None:
    """Compare config.json with the settings in force."""
    state = service.state()
    try:
        wanted = plain(load(service.workspace.config))
    except ConfigInvalid as error:
        if error.problems != state.workspace.refused:
            detail = f"{error}; the settings before stay in force"
            service.append(
                ConfigRefused(problems=error.problems),
                AlertRaised(severity="serious", type="config", detail=detail),
            )
        return
    if digest(wanted) != state.workspace.config_sha256 or state.workspace.refused:
        service.append(
            ConfigChanged(
                config=wanted, changes=changes(state.workspace.config, wanted), config_sha256=digest(wanted)
            )
        )
    if "config" in state.health.alerts:
        service.append(AlertCleared(type="config"))
    _warn_of_penalties(service)


def _warn_of_penalties(service: Service) -> None:
    """Say which penalised texts begin with an ordinary token: holding it down is felt in other texts too."""
    penalties, raised = (
        service.settings().logit_penalties,
        service.state().health.alerts.get("logit_penalties"),
    )
    common = [p.text for p in penalties if service.renderer().has_ordinary_start(p.text)]
    detail = (
        f"logit_penalties: {', '.join(map(repr, common))} begins with an ordinary token, which is held down "
        "wherever it could stand; watch validation_loss, or choose a text that is one added token"
    )
    if common and (raised is None or raised.detail != detail):
        service.append(AlertRaised(severity="info", type="logit_penalties", detail=detail))
    elif not common and raised is not None:
        service.append(AlertCleared(type="logit_penalties"))
