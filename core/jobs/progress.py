"""What the daemon's jobs are at: one that stands still is not hidden by those that move."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from events.heartbeat import listening

IDLE = "idle"
SHOWN_SECONDS = 1.0  # a job shorter than this is no phase of its own


@dataclass(slots=True)
class Stand:
    """One job at work: since when (monotonic seconds), and the number of its newest move."""

    phase: str
    began: float
    moved: int


class Progress:
    """Counts the moves of all jobs; the oldest newest move tells who has stood still longest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._moves = 0
        self._stands: dict[int, Stand] = {}  # by thread

    @contextmanager
    def job(self, phase: str) -> Iterator[None]:
        """The calling thread works on a job; to begin is to move, and so are the bytes it reads or copies."""
        me = threading.get_ident()
        with self._lock:
            self._moves += 1
            before = self._stands.get(me)
            self._stands[me] = Stand(phase, time.monotonic(), self._moves)
        try:
            with listening(self.moved):
                yield
        finally:
            with self._lock:
                del self._stands[me]
                if before is not None:
                    self._moves += 1
                    self._stands[me] = Stand(before.phase, before.began, self._moves)

    def moved(self) -> None:
        """The calling thread's job has come a step further."""
        with self._lock:
            stand = self._stands.get(threading.get_ident())
            if stand is not None:
                self._moves += 1
                stand.moved = self._moves

    def slowest(self) -> tuple[str, int]:
        """Phase and newest move of the job that has stood still longest: constant for as long as it does."""
        with self._lock:
            self._moves += 1
            stand = min(self._stands.values(), key=lambda each: each.moved, default=None)
            if stand is None:
                return IDLE, self._moves
            is_long = time.monotonic() - stand.began >= SHOWN_SECONDS
            return stand.phase if is_long else IDLE, stand.moved
