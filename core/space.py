"""Space: is there room for what is about to be written? Asked before, so that nothing is half begun."""

import shutil

from core.decide.disk import floor_bytes, shortage
from db.reserve import NoRoom, Reserve
from db.workspace import Workspace


def floor_of(workspace: Workspace, floor_gb: float) -> float:
    """The bytes that are to stay free on the workspace's disk, by `disk_floor_gb`."""
    return floor_bytes(floor_gb, shutil.disk_usage(workspace.root).total)


def ensure_room(
    workspace: Workspace, what: str, needs: float, above: float = 0.0, then: str = "it goes on by itself"
) -> None:
    """Raise NoRoom unless `needs` bytes leave `above` free, and the reserve its share where it is gone.

    `then`: what follows once there is space.
    """
    least = max(above, Reserve(workspace.reserve).missing)
    why = shortage(what, needs, shutil.disk_usage(workspace.root).free, least, then)
    if why is not None:
        raise NoRoom(why)
