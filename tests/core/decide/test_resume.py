"""Where a run goes on: by the log's order, never by names or numbers."""

from core.decide.resume import positions, standing
from events.types import CheckpointQuarantined, TrainingCompleted
from tests.projections.story import Tale


def tale_with_two_runs() -> tuple[Tale, list[str]]:
    """r1 ended at 10; r2 started from there and saved at 13 and 16."""
    tale = Tale()
    tale.begins()
    for name in ("a", "b"):
        tale.queues(name)
    tale.starts("a", "r1")
    middle, end = tale.saves("r1", 5), tale.saves("r1", 10)
    tale.ends(TrainingCompleted, "a", "r1", 10, checkpoint=end)
    tale.publishes("v0001", "a", "r1")
    tale.starts("b", "r2", at=10, checkpoint=end)
    return tale, [middle, end, tale.saves("r2", 3, at=10), tale.saves("r2", 6, at=10)]


def found(tale: Tale) -> list[tuple[str | None, int, int]]:
    run = tale.state.run.current
    assert run is not None
    return [(p.path, p.step, p.global_step) for p in positions(tale.state, run)]


def test_its_own_newest_first_then_where_it_started_and_nothing_older() -> None:
    tale, (_, end, early, late) = tale_with_two_runs()

    assert [(late, 6, 16), (early, 3, 13), (end, 0, 10)] == found(tale)


def test_a_damaged_one_is_passed_over() -> None:
    tale, (_, end, early, late) = tale_with_two_runs()
    tale.tell(CheckpointQuarantined(path=late, problems=("bytes",)))

    assert [(early, 3, 13), (end, 0, 10)] == found(tale)


def test_the_first_run_may_begin_again_from_the_base() -> None:
    tale = Tale()
    tale.begins()
    tale.queues("a")
    tale.starts("a", "r1")

    assert [(None, 0, 0)] == found(tale)
    path = tale.saves("r1", 5)
    assert [(path, 5, 5), (None, 0, 0)] == found(tale)


def test_a_run_that_goes_on_does_not_use_what_it_saved_before_that_start() -> None:
    tale, (_, _, _, late) = tale_with_two_runs()
    tale.starts("b", "r2", at=16, step=6, checkpoint=late)

    assert [(late, 6, 16)] == found(tale)


def test_with_nothing_left_the_run_stands_where_it_started() -> None:
    tale, paths = tale_with_two_runs()
    for path in paths:
        tale.tell(CheckpointQuarantined(path=path, problems=("bytes",)))
    run = tale.state.run.current
    assert run is not None

    at = standing(tale.state, run)

    assert [] == found(tale)
    assert (None, 0, 10) == (at.path, at.step, at.global_step)
