"""What the loop hears while it trains: requests in the log, and signals."""

import time
from typing import Any

from core.decide import training
from db.processes import Stop
from events.log import Log
from events.types import TrainingInterrupted, TrainingPaused, TrainingSkipped, TrainingStopped
from projections.fold import Follower, State

LOOK_SECONDS = 0.05  # how old the news of a request may be
HALTS: dict[str, tuple[str, Any]] = {
    "PauseRequested": ("pause", TrainingPaused),
    "StopRequested": ("stop", TrainingStopped),
    "SkipRequested": ("skip", TrainingSkipped),
}


class Control:
    """One run's ear on the log and on the process's signals."""

    def __init__(self, log: Log, follower: Follower, stop: Stop, run: str) -> None:
        self._log, self._follower, self._stop, self._run = log, follower, stop, run
        self._change, self._look_at = -1, 0.0

    def is_asked(self) -> bool:
        """Does anybody want this run to halt? Cheap: asked at every step and validation batch."""
        if self._stop:
            return True
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            change = self._log.change()
            if change != self._change:
                self._change = change
                self._follower.catch_up()
        return training.asked(self._follower.state.control, self._run) is not None

    @property
    def signal(self) -> str:
        """The signal that told this process to end."""
        return self._stop.signal or ""

    def halt(self, state: State) -> tuple[str, Any, dict[str, Any]] | None:
        """What is to be done: (reason of the save, the fact, what it answers); None: nothing was asked."""
        request = training.asked(state.control, self._run)
        if request is not None:
            return *HALTS[request.type], {"request": request.seq}
        if self._stop:
            return "shutdown", TrainingInterrupted, {"signal": self._stop.signal}
        return None
