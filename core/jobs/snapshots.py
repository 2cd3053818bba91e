"""Snapshots: the live state noted now and then, for `rebuild` and `verify` to compare with a fresh fold.

Of a long log it is kept as well, more rarely, for the next fold to begin with.
"""

from core import kept
from core.jobs.service import Service
from core.rebuilding import keep


class Snapshots:
    """Remembers how far it noted."""

    def __init__(self) -> None:
        self._seq = self._kept = -1

    def take(self, service: Service) -> None:
        state = service.state()
        if state.seq != self._seq:
            keep(service.log, state)
            self._seq = state.seq
        if self._kept < 0:
            self._kept = kept.kept(service.log).seq
        if state.seq - self._kept >= kept.FACTS:
            kept.keep(service.log, state)
            self._kept = state.seq
