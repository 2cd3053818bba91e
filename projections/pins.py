"""The pins: one value of the state by its path, as of any position, and the facts that change it. Pure.

States share what they do not change, so where a record is the very same object at two positions, nothing in
it changed between them: long stretches of a log are passed over without reading a fact.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from immutables import Map

from events.types import Event, Recorded, StepsCompleted
from projections.fold import FOLDED, PROJECTIONS, READERS, State, apply, plain
from projections.moments import STEPS_READ, Moment, status_document

STATUS = "status"  # made of all folds and of steps
NAMES = (*PROJECTIONS, STATUS)
MOST = 2000  # facts that one search looks at, unless told otherwise
SPANS = (8, 256)  # positions of which a status is made together: at first, and at most
#: What of the status is made of steps alone, and of steps or the position as well; the rest is of folds.
OF_STEPS = ("loss", "learning_rate", "grad_norm", "tokens_per_sec")
OF_BOTH = ("", "seq", "timestamp", "current_step", "run", "eta_seconds")
SMALL = 64  # a mapping up to this size is compared by its values


class NoSuchValue(Exception):
    """No projection has a value of this path."""


class _Absent:
    """What stands at a path that leads nowhere."""


ABSENT = _Absent()


@dataclass(frozen=True, slots=True)
class Change:
    """A fact after which the value was another one."""

    seq: int
    before: Any  # ABSENT: it was not there
    after: Any


@dataclass(frozen=True, slots=True)
class Pin:
    """A value by its path, keys with dots between, and the facts that may change it."""

    path: str
    projection: str
    inner: str  # the path inside the projection; empty: the whole
    types: tuple[type[Event], ...]


class Known(Protocol):
    """A log whose states are near."""

    def before(self, seq: int) -> State:
        """A state at hand that is not behind `seq`, the nearer the better."""

    def state(self, seq: int) -> State:
        """The state as of `seq`."""

    def moment(self, seq: int) -> Moment:
        """The log up to `seq`, steps included."""

    def read(self, after: int, to: int, types: tuple[type[Event], ...]) -> Iterator[Recorded]:
        """Facts with after < seq <= to, in order."""


def pin(path: str) -> Pin:
    """Raises NoSuchValue where the first name is no projection."""
    name, _, inner = path.partition(".")
    if name not in NAMES:
        raise NoSuchValue(f"{path!r}: a value begins with one of {', '.join(NAMES)}")
    if name == STATUS:
        key = inner.partition(".")[0]
        folded = () if key in OF_STEPS else FOLDED
        return Pin(path, name, inner, (*folded, StepsCompleted) if key in OF_STEPS + OF_BOTH else folded)
    return Pin(path, name, inner, tuple(cls for cls, of in READERS.items() if name in dict(of)))


def value(pinned: Pin, moment: Moment) -> Any:
    """What stands there then; ABSENT: nothing."""
    if pinned.projection == STATUS:
        return _chain(status_document(moment), pinned.inner)[-1]
    return _chain(getattr(moment.state, pinned.projection), pinned.inner)[-1]


def parts(found: Any) -> Mapping[Any, Any] | None:
    """What a value consists of, by name; None: it is a leaf."""
    if isinstance(found, Map | dict):
        return found
    names: tuple[str, ...] | None = getattr(type(found), "__match_args__", None)  # of a record: its fields
    return None if names is None else {name: getattr(found, name) for name in names}


def _chain(whole: Any, path: str) -> tuple[Any, ...]:
    """The values on the way to the one at `path`, which is the last; ABSENT ends a way that leads nowhere."""
    if not path:
        return (whole,)
    inner, short = parts(whole), (whole, ABSENT)
    if inner is None:
        return short
    end = len(path)
    while end > 0:  # a key may have dots itself: the longest that is there
        name, rest = path[:end], path[end + 1 :]
        for key in (name, int(name)) if name.isascii() and name.isdigit() else (name,):
            if key in inner:
                found = _chain(inner[key], rest)
                if found[-1] is not ABSENT:
                    return (whole, *found)
        end = path.rfind(".", 0, end)
    return short


def _same(one: Any, other: Any) -> bool:
    """Are they equal? A large mapping that is not the same object counts as another one."""
    if one is other:
        return True
    if type(one) is not type(other):
        return bool(one == other)
    inner, outer = parts(one), parts(other)
    if inner is None or outer is None:
        return bool(one == other)
    if max(len(inner), len(outer)) > SMALL and isinstance(one, Map):
        return False
    return inner.keys() == outer.keys() and all(_same(inner[key], outer[key]) for key in inner)


def changes(pinned: Pin, moment: Moment, facts: Iterable[Recorded]) -> Iterator[Change]:
    """Every change of the value by these facts: all of its types, as they follow on the moment."""
    take = _of_status(pinned, moment) if pinned.projection == STATUS else _of_fold(pinned, moment)
    before = value(pinned, moment)
    for recorded in facts:
        after = take(recorded)
        if not _same(before, after):
            yield Change(recorded.seq, before, after)
        before = after


def _of_fold(pinned: Pin, moment: Moment) -> Callable[[Recorded], Any]:
    name, state = pinned.projection, getattr(moment.state, pinned.projection)
    module = PROJECTIONS[name]
    found = _chain(state, pinned.inner)[-1]

    def take(recorded: Recorded) -> Any:
        nonlocal state, found
        after = module.apply(state, recorded)
        if after is not state:
            state, found = after, _chain(after, pinned.inner)[-1]
        return found

    return take


def _of_status(pinned: Pin, moment: Moment) -> Callable[[Recorded], Any]:
    # the time that is left is the only figure made of more than the newest steps
    many = STEPS_READ if pinned.inner in ("", "eta_seconds") else 1
    state, steps = moment.state, deque(moment.steps, maxlen=many)

    def take(recorded: Recorded) -> Any:
        nonlocal state
        if isinstance(recorded.event, StepsCompleted):
            steps.append(recorded)
        else:
            state = apply(state, recorded)
        return value(pinned, Moment(recorded.seq, recorded.at, state, tuple(steps)))

    return take


def last_change(pinned: Pin, known: Known, seq: int, most: int = MOST) -> tuple[Change | None, int]:
    """The newest change of the value up to `seq`, and how far back was looked: 0 is the beginning."""
    state, looked, span = known.state(seq), 0, SPANS[0]
    while seq > 0 and looked < most:
        station = known.before(seq - 1)
        if _untouched(pinned, station, state):
            seq, state = station.seq, station
            continue
        low = max(station.seq, seq - span) if pinned.projection == STATUS else station.seq
        span = min(2 * span, SPANS[1])
        begin, facts = _moment(pinned, known, low), list(known.read(low, seq, pinned.types))
        found = list(changes(pinned, begin, facts))
        if found:
            return found[-1], found[-1].seq
        looked += len(facts)
        seq, state = low, begin.state
    return None, seq


def next_change(pinned: Pin, known: Known, seq: int, end: int, most: int = MOST) -> tuple[Change | None, int]:
    """The first change of the value behind `seq` up to `end`, and how far ahead was looked."""
    state, hop = known.state(seq), end - seq
    while hop > 0:  # once touched, a record is never the same object again: halve
        station = known.before(seq + hop)
        if station.seq > seq and _untouched(pinned, state, station):
            seq, hop = station.seq, min(hop, end - station.seq)
        hop //= 2
    following = islice(known.read(seq, end, pinned.types), most + 1)
    looked = list[int]()

    def noting() -> Iterator[Recorded]:
        for recorded in following:
            looked.append(recorded.seq)
            yield recorded

    found = next(changes(pinned, _moment(pinned, known, seq), noting()), None)
    if found is not None:
        return found, found.seq
    return None, looked[-1] if len(looked) > most else end


def _moment(pinned: Pin, known: Known, seq: int) -> Moment:
    """What the value is found in; steps are read for the status alone."""
    return known.moment(seq) if pinned.projection == STATUS else Moment(seq, 0, known.state(seq), ())


def _untouched(pinned: Pin, one: State, other: State) -> bool:
    """Is a record that holds the value the very same object in both? Then nothing in it changed between."""
    if pinned.projection == STATUS:
        return False
    chains = [_chain(getattr(state, pinned.projection), pinned.inner) for state in (one, other)]
    pairs = list(zip(*chains, strict=False))
    if len(chains[0]) != len(chains[1]):
        return False
    holding = pairs if parts(pairs[-1][0]) is not None else pairs[:-1]
    return any(a is b for a, b in holding)


def shown(found: Any) -> Any:
    """A value as JSON has it; what is not there is null."""
    return None if found is ABSENT else plain(found)


def document(
    pinned: Pin, known: Known, moment: Moment, end: int, most: int = MOST, show: Callable[[Any], Any] = shown
) -> dict[str, Any]:
    """A pinned value with its last, previous and next change; `searched_…` says where a search gave up."""
    found = value(pinned, moment)
    setter, back = last_change(pinned, known, moment.seq, most)
    previous = None
    if setter is not None:
        previous, back = last_change(pinned, known, setter.seq - 1, most)
    following, ahead = next_change(pinned, known, moment.seq, end, most)
    return {
        "path": pinned.path, "seq": moment.seq, "there": found is not ABSENT, "value": show(found),
        "set_by": setter.seq if setter else None, "before": show(setter.before) if setter else None,
        "previous": previous.seq if previous else None,
        "next": following.seq if following else None, "after": show(following.after) if following else None,
        "searched_back_to": None if previous or back == 0 else back,
        "searched_ahead_to": None if following or ahead >= end else ahead,
    }  # fmt: skip
