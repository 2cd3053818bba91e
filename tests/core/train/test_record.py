"""The record: steps become facts soon, in order, and an error of the writer is heard by the loop."""

import math
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from core.logbook import open_log
from core.train.record import COLUMNS, EVERY_SECONDS, Recorder, facts_of, recorded_steps, weighted_mean
from core.train.trainer import Figures
from events.heartbeat import Heartbeat
from events.types import PhaseEntered, StepsCompleted, StepSkipped
from tests.core.train.stand import Stand


def figures(step: int, loss: float = 2.0) -> Figures:
    return Figures(step, 100 + step, loss, 0.5, 1e-3, 40, 20 + step, 3, 77, 0.01)


@pytest.fixture
def recorder(stand: Stand) -> Iterator[Recorder]:
    made = Recorder(stand.log, Heartbeat(stand.log, "trainer"))
    made.begin("r1", 2)
    yield made
    made.close()


def test_consecutive_steps_are_one_fact_column_by_column() -> None:
    (fact,) = facts_of("r1", 2, [figures(4), figures(5), figures(6)])

    assert isinstance(fact, StepsCompleted)
    assert (4, 104, 3) == (fact.first_step, fact.first_global_step, fact.n)
    assert set(COLUMNS) == fact.columns.keys()
    assert {3} == {len(column) for column in fact.columns.values()}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_step_is_a_fact_of_its_own_between_the_others(bad: float) -> None:
    facts = facts_of("r1", 1, [figures(1), figures(2, bad), figures(3), figures(4)])

    assert [StepsCompleted, StepSkipped, StepsCompleted] == [type(fact) for fact in facts]
    assert [1, 2] == [fact.n for fact in facts if isinstance(fact, StepsCompleted)]


def test_a_step_without_a_target_says_so_and_empty_windows_are_counted_where_there_are_any() -> None:
    nothing = replace(figures(2, math.nan), trained_tokens=0, empty_windows=2)
    some = replace(figures(3), empty_windows=1)
    first, skipped, last = facts_of("r1", 1, [figures(1), nothing, some, figures(4)])

    assert isinstance(first, StepsCompleted)
    assert "empty_windows" not in first.columns
    assert isinstance(skipped, StepSkipped)
    assert "no_targets" == skipped.reason
    assert isinstance(last, StepsCompleted)
    assert [1, 0] == last.columns["empty_windows"]


def test_a_bad_number_comes_back_from_the_log_as_it_was(stand: Stand, recorder: Recorder) -> None:
    recorder.step(figures(1, math.nan))
    recorder.flush()

    (skipped,) = stand.facts(StepSkipped)
    assert math.isnan(skipped.event.loss)


def test_a_step_is_in_the_log_soon_without_being_asked_for(stand: Stand, recorder: Recorder) -> None:
    recorder.step(figures(1))
    recorder.progress("step", 1)

    stand.wait_for(lambda: bool(stand.facts(StepsCompleted)), seconds=EVERY_SECONDS + 5)
    stand.wait_for(lambda: stand.log.heartbeats().get("trainer", {}).get("step") == 1)


def test_steps_come_before_the_fact_that_was_appended_after_them(stand: Stand, recorder: Recorder) -> None:
    head = stand.log.head()
    for step in range(1, 4):
        recorder.step(figures(step))
    recorder.enter("save", 3, None)
    recorder.enter("save", 3, None)

    added = [type(recorded.event) for recorded in stand.log.read(after=head)]
    assert PhaseEntered is added[-1]
    assert 1 == added.count(PhaseEntered)
    assert 3 == sum(r.event.n for r in stand.facts(StepsCompleted))


def test_an_error_of_the_writer_is_raised_in_the_loop(stand: Stand) -> None:
    recorder = Recorder(stand.log, Heartbeat(stand.log, "trainer"))
    recorder.begin("r1", 1)
    stand.log.close()
    recorder.step(figures(1))

    with pytest.raises(Exception, match="closed"):
        recorder.flush()


def test_a_log_that_another_process_locks_for_long_ends_no_training(stand: Stand) -> None:
    log = open_log(stand.workspace, "trainer", busy_ms=20)
    recorder = Recorder(log, Heartbeat(log, "trainer"))
    with stand.log.transaction():
        for step in range(1, 4):
            recorder.progress("step", step)
            time.sleep(EVERY_SECONDS)
    recorder.progress("step", 4)
    stand.wait_for(lambda: stand.log.heartbeats().get("trainer", {}).get("step") == 4)
    recorder.close()
    log.close()

    assert "step" == stand.log.heartbeats()["trainer"]["phase"]


def test_of_steps_done_twice_the_newest_attempt_counts(stand: Stand) -> None:
    stand.log.append(*facts_of("r1", 1, [figures(step, 9.0) for step in range(1, 6)]))
    stand.log.append(*facts_of("r1", 2, [figures(step, 1.0) for step in range(3, 8)]))
    stand.log.append(*facts_of("r2", 1, [figures(step, 5.0) for step in range(1, 8)]))

    steps = recorded_steps(stand.log, "r1", 2, 6)
    assert {2: 9.0, 3: 1.0, 4: 1.0, 5: 1.0, 6: 1.0} == {step: loss for step, (loss, _) in steps.items()}
    assert pytest.approx((9 * 22 + 23 + 24 + 25 + 26) / (22 + 23 + 24 + 25 + 26)) == weighted_mean(steps)
    assert None is weighted_mean({})
