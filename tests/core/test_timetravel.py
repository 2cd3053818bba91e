"""Time travel: the state as of any fact, and which fact changed what."""

import pytest

from core.jobs.service import Service
from core.timetravel import as_of, difference, pinned, position
from events.types import FilePlaced, PauseRequested, ServicePaused, ServiceResumed, StepsCompleted
from projections.fold import PROJECTIONS, fold, plain
from projections.moments import NoSuchMoment, differences
from projections.pins import NoSuchValue
from projections.status import iso
from tests.facts import sha
from tests.projections.story import rich

FORESEEN = {"inbox", "queue", "run", "versions", "storage", "control", "health", "status"}


@pytest.fixture
def told(service: Service) -> Service:
    service.log.append(*rich().facts[:70])
    for fact in rich().facts[70:]:
        service.log.append(fact)
    return service


def test_every_moment_is_the_fold_of_the_facts_up_to_it(told: Service) -> None:
    facts = list(told.log.read())

    for n in range(len(facts) + 1):
        folded, found = fold(facts[:n]), as_of(told.log, n)
        assert n == found["seq"]
        assert FORESEEN <= found["projections"].keys()
        assert {name: plain(getattr(folded, name)) for name in PROJECTIONS} == {
            name: found["projections"][name] for name in PROJECTIONS
        }
        assert n == found["projections"]["status"]["seq"]
        assert (iso(facts[n - 1].at) if n else None) == found["at"]


def test_the_difference_of_two_moments_names_the_fact_that_made_it(service: Service) -> None:
    before = service.log.head()
    (asked,) = service.log.append(PauseRequested())
    (answered,) = service.log.append(ServicePaused(request=asked))

    found = difference(service.log, before, answered)
    changes = {change["path"]: change for change in found["changes"]}

    assert (before, answered) == (found["from"], found["to"])
    mode = changes["control.mode"]
    assert ("running", "paused", answered) == (mode["before"], mode["after"], mode["set_by"])
    assert changes["status.status"]["set_by"] == answered
    assert "control.pending" not in changes


def test_a_moved_file_is_named_by_the_fact_that_moved_it(told: Service) -> None:
    head = told.log.head()
    changes = {c["path"]: c for c in difference(told.log, 0, head)["changes"]}

    moved = changes[f"queue.entries.{sha('c')}"]
    placed = [r.seq for r in told.log.read(types=(FilePlaced,)) if getattr(r.event, "sha256", "") == sha("c")]

    assert moved["before"] is None
    assert ("completed", placed[-1]) == (moved["after"]["state"], moved["set_by"])
    assert all(change["set_by"] is not None for change in changes.values())


def test_backwards_is_the_same_with_before_and_after_changed(told: Service) -> None:
    low, high = 20, told.log.head()
    forward, backward = difference(told.log, low, high), difference(told.log, high, low)

    assert [(c["path"], c["before"], c["after"]) for c in forward["changes"]] == [
        (c["path"], c["after"], c["before"]) for c in backward["changes"]
    ]
    assert [] == difference(told.log, high, high)["changes"]


def test_a_loss_was_set_by_its_step(service: Service) -> None:
    facts = rich().facts
    n = next(n for n, fact in enumerate(facts) if isinstance(fact, StepsCompleted))
    service.log.append(*facts[:n])
    before = service.log.head()
    (step,) = service.log.append(facts[n])
    service.log.append(PauseRequested())

    changes = {c["path"]: c for c in difference(service.log, before, service.log.head())["changes"]}

    assert (None, 1.0, step) == tuple(changes["status.loss"][key] for key in ("before", "after", "set_by"))
    assert step == changes["status.current_step"]["set_by"]


def test_a_moment_is_a_position_or_a_time(told: Service) -> None:
    head = told.log.head()
    facts = list(told.log.read())

    assert [0, 7, head] == [position(told.log, str(n)) for n in (0, 7, head)]
    assert head == position(told.log, "2999-01-01")
    assert 0 == position(told.log, "1999-01-01T12:00")
    at = position(told.log, iso(facts[-1].at + 1000))
    assert head == at
    for wrong in (str(head + 1), "yesterday", "", "-1", "1.5"):
        with pytest.raises(NoSuchMoment):
            position(told.log, wrong)


def test_every_leaf_that_differs_is_named() -> None:
    one = {"a": 1, "b": {"c": [1], "d": 2}, "e": 5}
    other = {"a": 1, "b": {"c": [2], "d": 2}, "f": 6}

    assert [("b.c", [1], [2]), ("e", 5, None), ("f", None, 6)] == differences(one, other)


def test_a_value_names_the_fact_that_set_it_and_its_changes_on_both_sides(service: Service) -> None:
    (asked,) = service.log.append(PauseRequested())
    (paused,) = service.log.append(ServicePaused(request=asked))
    between = service.log.append(PauseRequested())[-1]
    (resumed,) = service.log.append(ServiceResumed(request=between))

    found = pinned(service.log, "control.mode", between)
    first = pinned(service.log, "control.mode", asked)
    last = pinned(service.log, "control.mode", service.log.head())

    assert ("paused", "running", "running") == (found["value"], found["before"], found["after"])
    assert (paused, None, resumed) == (found["set_by"], found["previous"], found["next"])
    assert (None, paused) == (first["set_by"], first["next"])
    assert (resumed, paused, None) == (last["set_by"], last["previous"], last["next"])
    with pytest.raises(NoSuchValue):
        pinned(service.log, "nothing", 1)
