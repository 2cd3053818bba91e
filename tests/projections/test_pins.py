"""The pins: every value's changes, compared with a look at every fact."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest

from events.types import Event, Recorded, StepsCompleted
from projections import pins
from projections.fold import FOLDED, State, fold
from projections.moments import Moment, differences, projections
from projections.stations import Stations
from tests.projections.story import rich

FACTS: list[Recorded] = rich().recorded
END = len(FACTS)


@dataclass
class Told:
    """A log at hand, every state of which is folded once, with stations on the way."""

    states: list[State]
    stations: Stations
    read_facts: int = 0

    def before(self, seq: int) -> State:
        return self.stations.before(seq)

    def state(self, seq: int) -> State:
        return self.states[seq]

    def moment(self, seq: int) -> Moment:
        steps = [fact for fact in FACTS[:seq] if isinstance(fact.event, StepsCompleted)]
        return Moment(seq, FACTS[seq - 1].at if seq else 0, self.states[seq], tuple(steps[-32:]))

    def read(self, after: int, to: int, types: tuple[type[Event], ...]) -> Iterator[Recorded]:
        for fact in FACTS[after:to]:
            if isinstance(fact.event, types):
                self.read_facts += 1
                yield fact


def tell(stride: int = 7) -> Told:
    stations, states = Stations(stride=stride), [fold([])]
    for fact in FACTS:
        state = states[-1]
        if isinstance(fact.event, FOLDED):
            state = fold([fact], state)
            stations.passed(state)
        states.append(state)
    return Told(states, stations)


@pytest.fixture(scope="module")
def told() -> Told:
    return tell()


@pytest.fixture(scope="module")
def documents(told: Told) -> list[dict[str, Any]]:
    return [projections(told.moment(seq)) for seq in range(END + 1)]


def at(document: dict[str, Any], path: str) -> tuple[bool, Any]:
    """Is there a value at the path, and which? A key may have dots: the longest one counts."""
    found: Any = document
    keys = path.split(".")
    while keys:
        known = found if isinstance(found, dict) else {}
        n = next((n for n in range(len(keys), 0, -1) if ".".join(keys[:n]) in known), None)
        if n is None:
            return False, None
        found, keys = known[".".join(keys[:n])], keys[n:]
    return True, found


def leaves(documents: list[dict[str, Any]]) -> list[str]:
    """Every path at which two neighbours differ, and what it is part of."""
    found = {path for one, other in pairwise(documents) for path, *_ in differences(one, other)}
    found |= {path.rpartition(".")[0] for path in found if "." in path}
    return sorted(path for path in found if not path.startswith(("status.timestamp", "status.seq")))


def test_a_values_changes_are_those_of_a_look_at_every_fact(
    told: Told, documents: list[dict[str, Any]]
) -> None:
    looked, dotted = 0, 0
    for n, path in enumerate(leaves(documents)[::4]):
        pinned, values = pins.pin(path), [at(document, path) for document in documents]
        changed = [seq for seq in range(1, END + 1) if values[seq - 1] != values[seq]]
        dotted += "checkpoint-" in path
        for seq in {(37 * n) % (END + 1), (61 * n + 13) % (END + 1), END}:
            found = pins.document(pinned, told, told.moment(seq), END, most=END)
            past, future = [s for s in changed if s <= seq], [s for s in changed if s > seq]

            assert values[seq] == (found["there"], found["value"]), (path, seq)
            assert (past[-2:-1] or [None])[0] == found["previous"], (path, seq)
            assert (past[-1:] or [None])[0] == found["set_by"], (path, seq)
            assert (future[:1] or [None])[0] == found["next"], (path, seq)
            assert (None, None) == (found["searched_back_to"], found["searched_ahead_to"])
            if past:
                assert values[past[-1] - 1][1] == found["before"]
            if future:
                assert values[future[0]][1] == found["after"]
            looked += 1

    assert looked > 200 and dotted > 0


def test_a_bounded_search_says_how_far_it_looked_and_goes_on_from_there(told: Told) -> None:
    pinned = pins.pin("workspace.created")
    whole = pins.document(pinned, told, told.moment(END), END, most=END)
    near = tell(stride=END + 1)  # no station but the beginning: nothing is passed over
    change, reached = pins.last_change(pins.pin("control.mode"), near, END, most=3)
    ahead, further = pins.next_change(pins.pin("control.mode"), near, 0, END, most=3)

    assert whole["set_by"] is not None and whole["searched_back_to"] is None
    assert change is not None and change.seq == reached  # one walk is never cut
    assert ahead is None and 0 < further < END
    change, _ = pins.next_change(pins.pin("control.mode"), near, further, END, most=END)
    assert change is not None and change.seq > further


def test_what_did_not_change_is_passed_over_without_reading_it() -> None:
    told = tell(stride=5)
    pinned = pins.pin("workspace.created")
    change, _ = pins.last_change(pinned, told, END)

    assert change is not None
    assert told.read_facts <= 6


@pytest.mark.parametrize("path", ["", "nothing", "quue.entries", "status_", "Queue"])
def test_a_path_of_no_projection_is_refused_with_those_there_are(path: str) -> None:
    with pytest.raises(pins.NoSuchValue, match=r"queue, .*status"):
        pins.pin(path)


@pytest.mark.parametrize(
    "path", ["queue.entries.nothing.state", "control.nothing", "status.nothing", "control.mode.more"]
)
def test_a_path_that_leads_nowhere_has_no_value_and_no_change(told: Told, path: str) -> None:
    found = pins.document(pins.pin(path), told, told.moment(END // 2), END, most=END)

    assert not found["there"]
    assert [None] * 5 == [found[key] for key in ("value", "set_by", "previous", "next", "searched_back_to")]
