"""What may go: the policy language, resume points, versions, backups."""

import math
from datetime import datetime

import pytest

from core.decide.retention import Item, retire_checkpoints, select
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
    facts = retire_checkpoints(tale.state, keep)
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


def test_a_damaged_one_goes_once_enough_usable_ones_are_newer() -> None:
    tale, paths = saved(3)
    tale.tell(CheckpointQuarantined(path=paths[0], problems=("bytes",)))

    assert set() == gone(tale, 3)
    assert {paths[0]} == gone(tale, 2)


# -- the policy language -----------------------------------------------------------------------------


def noon(day: str) -> int:
    """Noon of a day in µs."""
    return int(datetime.fromisoformat(f"{day}T12:00+00:00").timestamp()) * 10**6


def items(*days: str, scores: tuple[float | None, ...] = ()) -> list[Item]:
    """One item a day given, oldest first: a, b, c, …"""
    measured = scores or (None,) * len(days)
    return [
        Item(name, noon(day), loss) for name, day, loss in zip("abcdefghij", days, measured, strict=False)
    ]


WEEKS = ("2026-01-25", "2026-01-31", "2026-02-01", "2026-02-01", "2026-02-02", "2026-03-10")


@pytest.mark.parametrize(
    ("policy", "kept"),
    [
        ({}, ""),
        ({"last": 2}, "ef"),
        ({"last": 99}, "abcdef"),
        ({"daily": 1}, "f"),
        ({"daily": 3}, "def"),
        ({"weekly": 2}, "ef"),
        ({"weekly": 3}, "def"),
        ({"weekly": 99}, "adef"),
        ({"monthly": 2}, "ef"),
        ({"monthly": 3}, "bef"),
        ({"last": 1, "monthly": 3, "daily": 0}, "bef"),
    ],
)
def test_a_policy_keeps_what_any_of_its_rules_keeps(policy: dict[str, int], kept: str) -> None:
    assert set(kept) == select(items(*WEEKS), policy)


def test_the_same_week_and_month_of_two_years_are_two() -> None:
    found = items("2025-01-08", "2026-01-07", "2026-01-08")

    assert {"a", "c"} == select(found, {"weekly": 2}) == select(found, {"monthly": 2})


def test_the_best_are_the_lowest_scores_and_of_equal_ones_the_newer() -> None:
    found = items(*WEEKS, scores=(2.0, 1.0, None, 1.0, math.nan, -math.inf))

    assert {"d"} == select(found, {"best": 1})
    assert {"b", "d"} == select(found, {"best": 2})
    assert {"a", "b", "d"} == select(found, {"best": 9})


def test_a_time_beyond_every_calendar_is_no_accident() -> None:
    assert {"late", "early"} == select([Item("early", -1), Item("late", 10**20)], {"monthly": 2})
