"""The workspace: what it was made from, and the settings in force."""

from dataclasses import dataclass, field, replace
from typing import Any

from events.types import ConfigChanged, ConfigRefused, Recorded, WorkspaceCreated

VERSION = 1


@dataclass(frozen=True, slots=True)
class WorkspaceState:
    created: WorkspaceCreated | None = None
    created_at: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    config_sha256: str | None = None
    config_seq: int = 0
    refused: tuple[str, ...] = ()  # what is wrong with config.json as it lies there


EMPTY = WorkspaceState()


def apply(state: WorkspaceState, recorded: Recorded) -> WorkspaceState:
    match recorded.event:
        case WorkspaceCreated() as e:
            return replace(state, created=e, created_at=recorded.at)
        case ConfigChanged(config=config, config_sha256=sha256):
            return replace(state, config=config, config_sha256=sha256, config_seq=recorded.seq, refused=())
        case ConfigRefused(problems=problems):
            return replace(state, refused=problems)
        case _:
            return state
