"""The heartbeat: one row per process, overwritten in place; liveness is no fact.

A row says that a process lives (`at`) and, apart from that, whether its work moves (`progress`): the thread
that works is the only one that may make it move, so no side thread hides that it stands still.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from events.log import Log


class Heartbeat:
    """This process's row in the heartbeat table, written at most every `every` seconds.

    For a process with one loop: each beat is a turn of it.
    """

    def __init__(self, log: Log, role: str, every: float = 0.5) -> None:
        self._log, self._role, self._every = log, role, every
        self._phase, self._next, self._turns, self._is_written = "", 0.0, 0, True

    def beat(self, phase: str, step: int | None = None, *, sample: str | None = None, now: float) -> bool:
        """Say what is being done; `now` is monotonic seconds. A new phase or a sample is written at once.

        False: the newest that was due could not be written, for a full disk or the lock of another process.
        """
        if phase != self._phase or now >= self._next or sample is not None:
            self._turns += 1
            self._is_written = self._log.beat(self._role, os.getpid(), phase, step, sample, self._turns)
            self._phase, self._next = phase, now + self._every
        return self._is_written

    def gone(self) -> None:
        """The process ends."""
        self._log.beat(self._role, os.getpid(), "gone")


_ears = threading.local()


def moved() -> None:
    """Long work of this thread has come a step further: said by loops over bytes, heard by who listens."""
    hear: Callable[[], None] | None = getattr(_ears, "hear", None)
    if hear is not None:
        hear()


@contextmanager
def listening(hear: Callable[[], None]) -> Iterator[None]:
    """Call `hear` at each `moved` of this thread."""
    before = getattr(_ears, "hear", None)
    _ears.hear = hear
    try:
        yield
    finally:
        _ears.hear = before
