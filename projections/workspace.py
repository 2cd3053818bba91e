"""The workspace: what it was made from, the settings in force, and the fixed validation set they name."""

from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from events.types import ConfigChanged, ConfigRefused, FixedSetChecked, Recorded, WorkspaceCreated

VERSION = 2


class WorkspaceState(Struct, frozen=True, gc=False):
    created: WorkspaceCreated | None = None
    created_at: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    config_sha256: str | None = None
    config_seq: int = 0
    refused: tuple[str, ...] = ()  # what is wrong with config.json as it lies there
    checked: FixedSetChecked | None = None  # the newest, whichever path it is of

    @property
    def fixed_set(self) -> FixedSetChecked | None:
        """What is evaluated throughout and never trained; None: config names none, or it cannot be used."""
        named = self.config.get("fixed_validation")
        if named is None or self.checked is None or self.checked.path != named:
            return None
        return self.checked if self.checked.store else None


EMPTY = WorkspaceState()


def apply(state: WorkspaceState, recorded: Recorded) -> WorkspaceState:
    match recorded.event:
        case WorkspaceCreated() as e:
            return replace(state, created=e, created_at=recorded.at)
        case ConfigChanged(config=config, config_sha256=sha256):
            return replace(state, config=config, config_sha256=sha256, config_seq=recorded.seq, refused=())
        case ConfigRefused(problems=problems):
            return replace(state, refused=problems)
        case FixedSetChecked() as e:
            return replace(state, checked=e)
        case _:
            return state
