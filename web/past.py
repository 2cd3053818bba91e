"""The past: the log as it stood at any position, by the same folds, charts and sentences as the present."""

import threading
from bisect import bisect_right
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator

from events.log import Log
from events.types import Event, Recorded, StepsCompleted
from projections import moments
from projections.fold import NUMERIC, PROJECTIONS, State, apply
from projections.moments import Moment
from projections.stations import Stations
from web import readings
from web.present import Now

KEPT = 8  # moments that stay folded, those looked at last
WALKS = 2  # of the newest folds every state stays: a step back is in one of them
NEXT_READ = 32


class Past:
    """Any earlier moment of one log; safe between threads. `newest`: the state as it stands, folded already.

    `stations`: those that this fold passes on its way.

    `newest` may wait for a lock of its own, under which it never asks for a moment of the past.
    """

    def __init__(self, log: Log, newest: Callable[[], State], stations: Stations | None = None) -> None:
        self.log, self._newest, self._stations = log, newest, stations or Stations()
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, State] = OrderedDict()
        self._walks: deque[tuple[int, list[State]]] = deque(maxlen=WALKS)  # with the position it went to

    def position(self, given: str) -> int:
        """A seq or a time as a position. Raises moments.NoSuchMoment."""
        return moments.position(given, self.log.head(), self.log.seq_at)

    def state(self, seq: int) -> State:
        """The fold of every fact up to `seq`, from the nearest state that is known."""
        with self._lock:
            if seq not in self._kept:
                self._kept[seq] = self._fold(seq)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(seq)
            return self._kept[seq]

    def _fold(self, seq: int) -> State:
        for end, walk in self._walks:
            if walk[0].seq <= seq <= end:
                return walk[bisect_right(walk, seq, key=lambda state: state.seq) - 1]
        newest = self._newest()  # first: what it folds passes the stations
        known = [self._stations.before(seq), newest, *self._kept.values()]
        state = max((state for state in known if state.seq <= seq), key=lambda state: state.seq)
        walk = [state]
        for recorded in self.log.read(state.seq, to=seq, but=NUMERIC):
            state = apply(state, recorded)
            walk.append(state)
        if len(walk) > 2:  # a step forward is no way to come back on
            self._walks.append((seq, walk))
        return state

    def moment(self, seq: int) -> Moment:
        """The log up to the fact `seq`."""
        recorded = self.log.get(seq)
        steps = self.log.last(moments.STEPS_READ, StepsCompleted, to=seq)
        return Moment(seq, recorded.at if recorded is not None else 0, self.state(seq), tuple(steps))

    def before(self, seq: int) -> State:
        """A state at hand that is not behind `seq`."""
        return self._stations.before(seq)

    def read(self, after: int, to: int, types: tuple[type[Event], ...]) -> Iterator[Recorded]:
        """Facts with after < seq <= to, in order."""
        return self.log.read(after, to=to, types=types)

    def between(self, one: int, other: int) -> Iterator[Recorded]:
        """The folded facts behind the earlier position up to the later one."""
        low, high = sorted((one, other))
        return self.log.read(low, to=high, but=NUMERIC)

    def look(self, seq: int) -> Now:
        """What the live pages showed when the log ended at `seq`, but for what is measured and not told."""
        moment = self.moment(seq)
        newest = moment.steps[-1] if moment.steps else None
        document = moments.status_document(moment)
        return Now(moment.state, document, newest, readings.notable(self.log, seq), (), {}, seq, moment.at)

    def last_change(self, seq: int) -> int | None:
        """The newest fact up to `seq` that changed any state, of the nearest few that are folded."""
        for _ in range(NEXT_READ):
            seq = self.state(seq).seq
            if seq == 0:
                return None
            if _differ(self.state(seq - 1), self.state(seq)):
                return seq
            seq -= 1
        return None

    def next_change(self, seq: int) -> int | None:
        """The first fact behind `seq` that changes any state; None: none does."""
        state = self.state(seq)
        for recorded in self.log.read(seq, but=NUMERIC, page=NEXT_READ):
            after = apply(state, recorded)
            if _differ(state, after):
                return recorded.seq
        return None


def _differ(one: State, other: State) -> bool:
    return any(getattr(one, name) is not getattr(other, name) for name in PROJECTIONS)
