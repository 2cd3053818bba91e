"""The moments: what two differ in, and by which fact, compared with a look at every fact and every value."""

import pytest

from events.types import ProcessCrashed, ProcessExited, Recorded, StepsCompleted
from projections.fold import FOLDED, fold
from projections.moments import Moment, difference, differences, processes, projections, status_document
from tests.projections.story import rich

FACTS: list[Recorded] = rich().recorded


def moment(n: int) -> Moment:
    steps = [fact for fact in FACTS[:n] if isinstance(fact.event, StepsCompleted)]
    folded = [fact for fact in FACTS[:n] if isinstance(fact.event, FOLDED)]
    return Moment(n, FACTS[n - 1].at if n else 0, fold(folded), tuple(steps[-32:]))


def folds(n: int) -> dict[str, object]:
    found = projections(moment(n))
    return {name: value for name, value in found.items() if name != "status"}


@pytest.fixture(scope="module")
def touched() -> dict[int, set[str]]:
    """seq → every path it changed, found the long way."""
    states = [folds(n) for n in range(len(FACTS) + 1)]
    return {n: {path for path, *_ in differences(states[n - 1], states[n])} for n in range(1, len(states))}


def test_a_difference_is_every_value_that_differs_and_the_last_fact_that_touched_it(
    touched: dict[int, set[str]],
) -> None:
    def near(one: str, other: str) -> bool:
        return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")

    end = len(FACTS)
    for low, high in ((0, end), (0, end // 2), (end // 3, end), (end // 4, end // 2), (end - 9, end)):
        between = [fact for fact in FACTS[low:high] if isinstance(fact.event, FOLDED)]
        found = difference(moment(low), moment(high), between)["changes"]
        wanted = differences(projections(moment(low)), projections(moment(high)))
        setters = {
            path: max(n for n in range(low + 1, high + 1) if any(near(path, one) for one in touched[n]))
            for path, *_ in wanted if not path.startswith("status.")
        }  # fmt: skip

        assert len(wanted) > 5
        assert sorted(wanted, key=lambda one: one[0]) == sorted(
            ((c["path"], c["before"], c["after"]) for c in found), key=lambda one: one[0]
        )
        assert setters == {c["path"]: c["set_by"] for c in found if not c["path"].startswith("status.")}


def test_who_ran_is_what_the_log_says() -> None:
    ran = set()
    for n in range(len(FACTS) + 1):
        state = moment(n).state
        found = processes(state, 1)
        ran |= found.keys()
        ended = {r for r, one in state.health.processes.items() if one.state in ("exited", "crashed")}
        assert set() == found.keys() & ended
        assert found.keys() == {r for r, one in status_document(moment(n))["processes"].items() if one}

    assert "trainer" in ran
    assert any(isinstance(fact.event, ProcessCrashed | ProcessExited) for fact in FACTS)
