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
    """One process's; ends when it is told to."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def insist(self, action: Callable[[], T], recorder: Recorder, state: State, step: int) -> T:
        """Do it until there is space, beating all the while. Raises SaveGivenUp when told to end."""
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
            self._wait(pause, recorder, step)
        if told:
            recorder.append(AlertCleared(type="waiting:save"))
        return done

    def _wait(self, seconds: float, recorder: Recorder, step: int) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            recorder.progress("save", step)
            if self._stop.event.wait(LOOK_SECONDS):
                raise SaveGivenUp("no space for a resume point before the end; the newest one holds")
