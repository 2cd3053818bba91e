"""Patience: a save that finds no space is done again, with the run in memory, until there is some."""

import time
from collections.abc import Callable
from typing import TypeVar

from core.train.record import Recorder
from core.train.refusals import SaveGivenUp
from db.processes import Stop
from db.reserve import NoRoom, is_full
from events.types import AlertCleared, AlertRaised
from projections.fold import State

T = TypeVar("T")
LOOK_SECONDS = 1.0
MOST_SECONDS = 60.0  # between two saves that were begun: free bytes do not tell of a quota


class Patience:
    """One try's; ends when the process is told to end, or the try does."""

    def __init__(self, stop: Stop) -> None:
        self._stop, self._is_over = stop, False

    def end(self) -> None:
        """Nobody waits any longer."""
        self._is_over = True

    def insist(
        self, action: Callable[[], T], recorder: Recorder, state: State, looked: Callable[[], None]
    ) -> T:
        """Do it until there is space, with a `looked` every second. Raises SaveGivenUp when told to end."""
        told, pause = "waiting:save" in state.health.alerts, LOOK_SECONDS
        while True:
            try:
                done = action()
                break
            except OSError as error:
                if not is_full(error):
                    raise
                if isinstance(error, NoRoom):
                    why, pause = error.shortage, LOOK_SECONDS
                else:
                    why, pause = "the disk (or its quota) is full: a save waits", min(2 * pause, MOST_SECONDS)
            if not told:
                recorder.append(AlertRaised(severity="serious", type="waiting:save", detail=why))
                told = True
            self._wait(pause, looked)
        if told:
            recorder.append(AlertCleared(type="waiting:save"))
        return done

    def _wait(self, seconds: float, looked: Callable[[], None]) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            looked()
            if self._stop.event.wait(LOOK_SECONDS) or self._is_over:
                raise SaveGivenUp("no space for a resume point before the end; the newest one holds")
