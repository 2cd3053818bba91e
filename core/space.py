"""Space: is there room for what is about to be written? Asked before, so that nothing is half begun."""

import shutil

from core.decide.disk import shortage
from db.reserve import NoRoom, Reserve
from db.workspace import Workspace


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
