"""Room for facts: what the log does when its disk is full, from the reserve to waiting."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from db.reserve import LogFull, Reserve, is_full
from db.workspace import Workspace

T = TypeVar("T")


class Room:
    """Gives the reserve back and does it again; then LogFull, or patience where it is set.

    `patience` is asked each time and sleeps; True: try once more.
    """

    def __init__(self, log: Path) -> None:
        self._log = log
        self._reserve = Reserve(Workspace(log.parent).reserve)
        self.patience: Callable[[], bool] | None = None
        self.is_waiting = False
        self._is_tight = False

    def was_tight(self) -> bool:
        """True once, when the reserve is there again after the disk was full."""
        if self._is_tight and self._reserve.is_there:
            self._is_tight = False
            return True
        return False

    def make(
        self, action: Callable[[], T], relieve: Callable[[], None] = lambda: None, *, waits: bool = True
    ) -> T:
        """Do it: as it is, then after `relieve`, then with the reserve given back. Raises LogFull.

        `waits`: whether patience is asked when that was not enough.
        """
        attempts = 0
        try:
            while True:
                try:
                    return action()
                except Exception as error:
                    if not is_full(error, self._log):
                        raise
                    full = error
                attempts += 1
                released = attempts > 1 and self._reserve.release()
                # another thread or process may have given it back since we failed: there is room by now
                if attempts <= 2 or released:
                    relieve()
                    self._is_tight = True
                    continue
                self.is_waiting = True
                if not waits or self.patience is None or not self.patience():
                    raise LogFull(self._log) from full
        finally:
            self.is_waiting = False
