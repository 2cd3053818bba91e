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
