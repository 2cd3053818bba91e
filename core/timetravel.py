"""Time travel: everything as of a position of the log, and what changed between two, and by which fact."""

from collections.abc import Iterator
from typing import Any

from core.logbook import newest_steps, state_at
from events.log import Log
from events.types import Event, Recorded
from projections import moments, pins
from projections.fold import NUMERIC, Follower, State, fold
from projections.moments import Moment
from projections.stations import Stations


def position(log: Log, given: str) -> int:
    """A seq, or an ISO 8601 time, as a position of the log. Raises moments.NoSuchMoment."""
    return moments.position(given, log.head(), log.seq_at)


def moment(log: Log, seq: int) -> Moment:
    """The log up to the fact `seq`, folded from the first one."""
    state = state_at(log, seq)
    at = recorded.at if (recorded := log.get(seq)) is not None else state.at
    return Moment(seq, at, state, tuple(newest_steps(log, to=seq, n=moments.STEPS_READ)))


def as_of(log: Log, seq: int) -> dict[str, Any]:
    """The replay document of CONTRACT: every projection after the fact `seq`."""
    return moments.document(moment(log, seq))


def difference(log: Log, before: int, after: int) -> dict[str, Any]:
    """What is not the same at two moments: each path with its values, and the fact that set it last."""
    low, high = sorted((before, after))
    between = log.read(low, to=high, but=NUMERIC)
    return moments.difference(moment(log, before), moment(log, after), between)


class _Known:
    """The log folded once, with states at hand on the way."""

    def __init__(self, log: Log) -> None:
        self._log, self._stations = log, Stations()
        Follower(lambda after: log.read(after, but=NUMERIC), passed=self._stations.passed).catch_up()

    def before(self, seq: int) -> State:
        return self._stations.before(seq)

    def state(self, seq: int) -> State:
        near = self.before(seq)
        return fold(self._log.read(near.seq, to=seq, but=NUMERIC), near)

    def moment(self, seq: int) -> Moment:
        recorded, state = self._log.get(seq), self.state(seq)
        steps = newest_steps(self._log, to=seq, n=moments.STEPS_READ)
        return Moment(seq, recorded.at if recorded is not None else state.at, state, tuple(steps))

    def read(self, after: int, to: int, types: tuple[type[Event], ...]) -> Iterator[Recorded]:
        return self._log.read(after, to=to, types=types)


def pinned(log: Log, path: str, seq: int) -> dict[str, Any]:
    """A value as of `seq`, the fact that set it, and its changes before and after, however far they are.

    Raises pins.NoSuchValue.
    """
    known, end = _Known(log), log.head()
    return pins.document(pins.pin(path), known, known.moment(seq), end, most=end)
