"""The heartbeat: one row per process, overwritten in place; liveness is no fact."""

import contextlib
import os

from db.reserve import LogFull
from events.log import Log


class Heartbeat:
    """This process's row in the heartbeat table, written at most every `every` seconds."""

    def __init__(self, log: Log, role: str, every: float = 0.5) -> None:
        self._log, self._role, self._every = log, role, every
        self._phase, self._next = "", 0.0

    def beat(self, phase: str, step: int | None = None, *, sample: str | None = None, now: float) -> None:
        """Say what is being done; `now` is monotonic seconds. A new phase or a sample is written at once."""
        if phase != self._phase or now >= self._next or sample is not None:
            with contextlib.suppress(LogFull):  # no reason to die: the age of the last one tells
                self._log.beat(self._role, os.getpid(), phase, step, sample)
            self._phase, self._next = phase, now + self._every

    def gone(self) -> None:
        """The process ends."""
        with contextlib.suppress(LogFull):
            self._log.beat(self._role, os.getpid(), "gone")
