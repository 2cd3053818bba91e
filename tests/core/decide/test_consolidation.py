"""Releases: what they are made of, when one is refused, and when one is made unasked."""

import pytest

from core.decide.consolidation import APART_US, IDLE_US, is_due, is_open, plan, refused
from events.types import (
    CheckpointQuarantined,
    ConsolidateRequested,
    Event,
    RequestRefused,
    StopRequested,
    TrainingCompleted,
    VersionPublished,
    VersionRestored,
)
from tests.facts import sha, specimen
from tests.projections.story import Tale


def trained() -> tuple[Tale, list[str]]:
    """v0001 of one file, with resume points at 5 and 10, newest first; nothing to do."""
    tale = Tale()
    tale.begins()
    tale.queues("a")
    tale.starts("a", "r1")
    paths = [tale.saves("r1", 5), tale.saves("r1", 10)]
    tale.ends(TrainingCompleted, "a", "r1", 10, checkpoint=paths[1])
    tale.publishes("v0001", "a", "r1")
    return tale, paths[::-1]


def release(tale: Tale, version: str, parent: str | None) -> None:
    tale.tell(
        specimen(VersionPublished, version=version, run="r1", parent=parent, kind="release", request=None)
    )


def reason(tale: Tale, average: int) -> str:
    tale.tell(ConsolidateRequested(average=average))
    request = tale.state.control.first("ConsolidateRequested")
    assert request is not None
    facts = refused(tale.state, request)
    if not facts:
        return ""
    (fact,) = facts
    assert isinstance(fact, RequestRefused)
    return fact.reason


@pytest.mark.parametrize("average", [1, 2])
def test_a_release_is_made_of_the_newest_points_of_the_branch(average: int) -> None:
    tale, paths = trained()
    tale.tell(ConsolidateRequested(average=average))
    state = tale.state
    found = plan(state, state.control.first("ConsolidateRequested"))

    assert found is not None
    assert paths[:average] == [point.path for point in found.points]
    assert "v0001" == found.parent


@pytest.mark.parametrize(
    ("average", "said"), [(1, ""), (2, ""), (3, "only 2 usable resume points"), (0, "no mean of 0")]
)
def test_with_fewer_points_than_asked_for_it_is_refused(average: int, said: str) -> None:
    tale, _ = trained()

    assert said in reason(tale, average)
    assert bool(said) == bool(reason(tale, average))


def test_without_a_point_where_the_model_stands_it_is_refused() -> None:
    tale, paths = trained()
    tale.tell(specimen(VersionRestored, version="v0001", checkpoint=None, moments="fresh"))
    after_restore = reason(tale, 1)
    for path in paths:
        tale.tell(CheckpointQuarantined(path=path, problems=("bytes",)))

    assert "is where the model stands" in after_restore
    assert "is where the model stands" in reason(tale, 1)


def test_after_a_restore_a_release_of_the_other_branch_is_no_longer_wanted() -> None:
    tale, paths = trained()
    tale.tell(ConsolidateRequested(average=1))
    state = tale.state
    made = plan(state, state.control.first("ConsolidateRequested"))
    assert made is not None
    before = is_open(state, made)
    tale.tell(specimen(VersionRestored, version="v0001", checkpoint=paths[0]))

    assert before
    assert not is_open(tale.state, made)


def test_a_release_is_due_after_an_hour_with_nothing_to_do() -> None:
    tale, _ = trained()
    ended = tale.state.versions.versions["v0001"].created_at

    assert [False, False, True, True] == [
        is_due(tale.state, ended + after) for after in (0, IDLE_US - 1, IDLE_US, 9 * APART_US)
    ]


@pytest.mark.parametrize("busy", ["waiting", "stopped", "training", "due", "no version"])
def test_no_release_is_due_while_there_is_something_to_do(busy: str) -> None:
    tale, paths = trained()
    later = tale.state.at + 9 * APART_US
    before = is_due(tale.state, later)
    match busy:
        case "waiting":
            tale.queues("b")
        case "stopped":
            tale.tell(StopRequested())
        case "training" | "due":
            tale.queues("b")
            tale.starts("b", "r2", at=10, checkpoint=paths[0], parent="v0001")
            if busy == "due":
                tale.ends(TrainingCompleted, "b", "r2", 10, at=10)
        case _:
            tale = Tale()
            tale.begins()

    assert before
    assert not is_due(tale.state, later)


def test_a_version_gets_one_release_and_there_is_one_a_day_at_most() -> None:
    tale, paths = trained()
    release(tale, "v0002", "v0001")
    same = is_due(tale.state, tale.state.at + 9 * APART_US)
    tale.queues("b")
    tale.starts("b", "r2", at=10, checkpoint=paths[0], parent="v0001")
    end = tale.saves("r2", 10, at=10)
    tale.ends(TrainingCompleted, "b", "r2", 10, at=10, checkpoint=end)
    tale.tell(_version("v0003", "b", "r2"))
    made = tale.state.versions.versions["v0002"].created_at

    assert not same
    assert [False, True] == [is_due(tale.state, made + after) for after in (APART_US - 1, APART_US)]


def _version(version: str, name: str, run: str) -> Event:
    return specimen(
        VersionPublished, version=version, run=run, file=name, sha256=sha(name), parent="v0001", kind="run",
        request=None,
    )  # fmt: skip
