"""Which resume points may go."""

import pytest

from core.decide.retention import retire
from events.types import CheckpointQuarantined, CheckpointRetired, TrainingCompleted
from tests.projections.story import Tale


def saved(n: int) -> tuple[Tale, list[str]]:
    """A tale with an open run that started from the base, and so many resume points, oldest first."""
    tale = Tale()
    tale.begins()
    tale.queues("a")
    tale.starts("a", "r1")
    return tale, [tale.saves("r1", step) for step in range(1, n + 1)]


def gone(tale: Tale, keep: int) -> set[str]:
    facts = retire(tale.state, keep)
    assert all(isinstance(fact, CheckpointRetired) for fact in facts)
    return {fact.path for fact in facts if isinstance(fact, CheckpointRetired)}


@pytest.mark.parametrize(("keep", "left"), [(0, 1), (1, 1), (2, 2), (5, 5), (9, 5)])
def test_the_newest_stay_and_never_fewer_than_one(keep: int, left: int) -> None:
    tale, paths = saved(5)

    assert set(paths[: 5 - left]) == gone(tale, keep)


def test_a_damaged_one_is_not_counted_among_those_that_stay() -> None:
    tale, paths = saved(4)
    tale.tell(CheckpointQuarantined(path=paths[3], problems=("bytes",)))

    assert set(paths[:2]) == gone(tale, 1)


def test_where_the_open_run_began_stays() -> None:
    tale, paths = saved(2)
    tale.ends(TrainingCompleted, "a", "r1", 2, checkpoint=paths[1])
    tale.publishes("v0001", "a", "r1")
    tale.queues("b")
    tale.starts("b", "r2", at=2, checkpoint=paths[1])
    newer = [tale.saves("r2", step, at=2) for step in (1, 2, 3)]

    assert {paths[0], *newer[:2]} == gone(tale, 1)


def test_what_a_coming_version_is_made_of_stays_until_it_is_published() -> None:
    tale, paths = saved(3)
    tale.ends(TrainingCompleted, "a", "r1", 2, checkpoint=paths[1])
    before = gone(tale, 1)
    tale.publishes("v0001", "a", "r1")

    assert {paths[0]} == before
    assert set(paths[:2]) == gone(tale, 1)
