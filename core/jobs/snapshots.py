"""Snapshots: the live state noted now and then, for `rebuild` and `verify` to compare with a fresh fold."""

from core.jobs.service import Service
from core.rebuilding import keep


class Snapshots:
    """Remembers how far it noted."""

    def __init__(self) -> None:
        self._seq = -1

    def take(self, service: Service) -> None:
        state = service.state()
        if state.seq != self._seq:
            keep(service.log, state)
            self._seq = state.seq
