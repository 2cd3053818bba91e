"""Time travel: everything as of a position of the log, and what changed between two, and by which fact."""

from typing import Any

from core.logbook import newest_steps, state_at
from events.log import Log
from projections import moments
from projections.fold import FOLDED
from projections.moments import Moment


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
    between = log.read(low, to=high, types=FOLDED)
    return moments.difference(moment(log, before), moment(log, after), between)
