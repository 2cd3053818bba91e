"""Which file trains next, from where, and when a run is given up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.decide.dispatch import (
    KILLS_PER_TRY,
    Measured,
    give_up,
    is_hopeless,
    next_file,
    restart_delay,
    start,
    wants_trainer,
)
from events.types import (
    AlertCleared,
    AlertRaised,
    ConfigChanged,
    DecayRequested,
    Event,
    FilePlaced,
    FileReprioritized,
    PauseRequested,
    ProcessCrashed,
    RestoreRequested,
    ServiceResumed,
    SkipRequested,
    StopRequested,
    TrainingCompleted,
    TrainingFailed,
    TrainingPaused,
    TrainingStarted,
    TrainingStopped,
    VersionRestored,
)
from projections.crashes import FOREIGN
from tests.facts import sha, specimen
from tests.projections.story import Tale

MEASURED = Measured(
    steps_planned=10, rows=95, holdout_rows=5, tokens=5000, trained_tokens=4000, plan_sha256=sha("plan")
)


def waiting(*names: str) -> Tale:
    tale = Tale()
    tale.begins()
    for name in names:
        tale.queues(name)
    return tale


def started(tale: Tale, name: str) -> TrainingStarted:
    (fact,) = start(tale.state, sha(name), MEASURED)
    assert isinstance(fact, TrainingStarted)
    return fact


@pytest.mark.parametrize(
    "fact",
    [
        PauseRequested(),
        StopRequested(),
        RestoreRequested(version="v0001"),
        AlertRaised(severity="serious", type="waiting", detail="disk"),
        AlertRaised(severity="fatal", type="base", detail="damaged"),
    ],
)
def test_nothing_starts_while_something_speaks_against_it(fact: Event) -> None:
    tale = waiting("a")
    before = next_file(tale.state)
    tale.tell(fact)

    assert sha("a") == before
    assert next_file(tale.state) is None


def test_it_goes_on_by_itself_when_the_waiting_is_over() -> None:
    tale = waiting("a")
    tale.tell(AlertRaised(severity="serious", type="waiting", detail="disk"), AlertCleared(type="waiting"))

    assert sha("a") == next_file(tale.state)


def test_one_file_at_a_time_and_the_version_before_the_next_run() -> None:
    tale = waiting("a", "b")
    seen = [next_file(tale.state)]
    tale.starts("a", "r1")
    seen.append(next_file(tale.state))
    tale.ends(TrainingCompleted, "a", "r1", 10)
    seen.append(next_file(tale.state))
    tale.publishes("v0001", "a", "r1")
    seen.append(next_file(tale.state))

    assert [sha("a"), None, None, sha("b")] == seen


def test_a_file_that_is_still_being_moved_does_not_start() -> None:
    tale = waiting("a")
    tale.tell(FileReprioritized(sha256=sha("a"), priority="high"))
    moving = next_file(tale.state)
    tale.tell(FilePlaced(sha256=sha("a"), path="queue/high/a"))

    assert moving is None
    assert sha("a") == next_file(tale.state)


def test_the_first_run_starts_from_the_base_and_the_second_from_the_newest_resume_point() -> None:
    tale = waiting("a", "b")
    first = started(tale, "a")
    tale.tell(first)
    path = tale.saves(first.run, 10)
    tale.ends(TrainingCompleted, "a", first.run, 10, checkpoint=path)
    tale.publishes("v0001", "a", first.run)
    second = started(tale, "b")

    assert (None, None, 0, 0) == (first.checkpoint, first.parent, first.step, first.global_step)
    assert (path, "v0001", 0, 10) == (second.checkpoint, second.parent, second.step, second.global_step)
    assert first.run != second.run


def test_a_stopped_run_goes_on_where_it_was() -> None:
    tale = waiting("a")
    first = started(tale, "a")
    tale.tell(first)
    path = tale.saves(first.run, 4)
    tale.ends(TrainingStopped, "a", first.run, 4, request=1)
    again = started(tale, "a")

    assert (first.run, 4, 4, path) == (again.run, again.step, again.global_step, again.checkpoint)


def test_under_other_settings_a_stopped_run_begins_anew_under_a_new_name() -> None:
    tale = waiting("a")
    first = started(tale, "a")
    tale.tell(first)
    tale.saves(first.run, 4)
    tale.ends(TrainingStopped, "a", first.run, 4, request=1)
    other = Measured(20, 95, 5, 5000, 4000, sha("another plan"))
    (again,) = start(tale.state, sha("a"), other)

    assert isinstance(again, TrainingStarted)
    assert (0, 4) == (again.step, again.global_step)
    assert first.run != again.run


def test_a_run_stopped_before_a_restore_begins_anew_on_the_restored_version() -> None:
    tale = waiting("a", "b")
    first = started(tale, "b")
    tale.tell(first)
    end = tale.saves(first.run, 10)
    tale.ends(TrainingCompleted, "b", first.run, 10, checkpoint=end)
    tale.publishes("v0001", "b", first.run)
    second = started(tale, "a")
    tale.tell(second)
    tale.saves(second.run, 4, at=10)
    tale.ends(TrainingStopped, "a", second.run, 4, at=10, request=1)
    tale.tell(specimen(VersionRestored, version="v0001", global_step=10, checkpoint=end))
    again = started(tale, "a")

    assert (0, 10, end, "v0001") == (again.step, again.global_step, again.checkpoint, again.parent)
    assert second.run != again.run


def test_after_a_restore_without_moments_a_run_starts_with_the_versions_weights() -> None:
    tale = waiting("a")
    first = started(tale, "a")
    tale.tell(first)
    tale.saves(first.run, 10)
    tale.ends(TrainingCompleted, "a", first.run, 10)
    tale.publishes("v0001", "a", first.run)
    tale.tell(specimen(VersionRestored, version="v0001", global_step=10, checkpoint=None, moments="fresh"))
    second = started(tale, "a")

    assert (None, "models/versions/v0001", "v0001") == (second.checkpoint, second.weights, second.parent)


def test_a_file_trained_again_is_a_new_run() -> None:
    tale = waiting("a")
    first = started(tale, "a")
    tale.tell(first)
    tale.ends(TrainingCompleted, "a", first.run, 10)

    assert first.run != started(tale, "a").run


def test_a_trainer_is_wanted_for_an_open_run_only() -> None:
    tale = waiting("a")
    seen = [wants_trainer(tale.state)]
    tale.starts("a", "r1")
    seen.append(wants_trainer(tale.state))
    tale.tell(SkipRequested(run="r1"))
    seen.append(wants_trainer(tale.state))

    assert [False, True, False] == seen


def test_a_paused_run_wants_no_trainer() -> None:
    tale = waiting("a")
    tale.starts("a", "r1")
    tale.ends(TrainingPaused, "a", "r1", 4, request=tale.tell(PauseRequested()))

    assert not wants_trainer(tale.state)


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_a_run_is_given_up_after_so_many_tries_that_got_no_further(limit: int) -> None:
    tale = waiting("a")
    tale.starts("a", "r1", config={"max_attempts": limit, "epochs": 1})
    tale.crashes("r1", 3)  # got further than any before: no try is used up
    hopeless = []
    for _ in range(limit):
        hopeless.append(is_hopeless(tale.state) or bool(give_up(tale.state)))
        tale.crashes("r1", 3)

    (fact,) = give_up(tale.state)

    assert [False] * limit == hopeless
    assert isinstance(fact, TrainingFailed)
    assert "killed by SIGKILL" in fact.reason
    assert not wants_trainer(tale.state)


def test_a_given_up_run_stands_where_its_last_resume_point_is() -> None:
    tale = waiting("a")
    tale.starts("a", "r1", at=50)
    path = tale.saves("r1", 4, at=50)
    for _ in range(4):
        tale.crashes("r1", 6)

    (fact,) = give_up(tale.state)

    assert isinstance(fact, TrainingFailed)
    assert (4, 54, path) == (fact.step, fact.global_step, fact.checkpoint)


def test_the_delay_before_a_restart_grows_to_five_minutes_unless_there_was_progress() -> None:
    assert [0.5, 10, 20, 40, 80, 160, 300, 300] == [restart_delay(n, False) for n in range(1, 9)]
    assert {0.5} == {restart_delay(n, True) for n in range(1, 9)}


def killed(category: str, step: int) -> ProcessCrashed:
    return ProcessCrashed(
        role="trainer", pid=7, exit_code=None, signal="SIGKILL", error="killed by SIGKILL", run="r1",
        step=step, category=category,
    )  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(FOREIGN), st.integers(0, 9)), max_size=5))
def test_five_kills_from_outside_cost_no_file(kills: list[tuple[str, int]]) -> None:
    tale = waiting("a")
    tale.starts("a", "r1")
    for category, step in kills:
        tale.tell(killed(category, step))
        assert wants_trainer(tale.state)


def test_a_file_that_always_ends_in_a_kill_is_given_up_in_the_end() -> None:
    tale = waiting("a")
    tale.starts("a", "r1", config={"max_attempts": 3, "epochs": 1})
    died = 0
    while not is_hopeless(tale.state):
        tale.tell(killed("process_killed", 3))
        died += 1

    assert 1 + 3 * KILLS_PER_TRY == died


def test_a_trainers_own_fatal_alert_does_not_keep_it_from_being_tried_again() -> None:
    tale = waiting("a")
    tale.starts("a", "r1")
    tale.tell(AlertRaised(severity="fatal", type="fatal:trainer", detail="a package is missing"))
    own = wants_trainer(tale.state)
    tale.tell(AlertRaised(severity="fatal", type="base", detail="damaged"))

    assert (True, False) == (own, wants_trainer(tale.state))
    assert {300.0} == {restart_delay(n, False, incurable=True) for n in range(1, 9)}


def test_a_decay_that_was_asked_for_is_the_next_beginnings_and_no_later_ones() -> None:
    tale = waiting("a", "b", "c")
    tale.tell(specimen(ConfigChanged, config={"epochs": 1, "max_attempts": 3, "lr_schedule": "wsd"}))
    first = started(tale, "a")
    tale.tell(first, *stopped_at_once("a", first.run))
    asked = tale.tell(DecayRequested())
    goes_on = started(tale, "a")
    begins = started(tale, "b")
    tale.tell(begins, *stopped_at_once("b", begins.run))
    pending = tale.state.control.pending
    again, later = started(tale, "b"), started(tale, "c")

    assert [(False, None), (False, None)] == [(start.decays, start.request) for start in (first, goes_on)]
    assert (True, asked) == (begins.decays, begins.request)
    assert () == pending
    assert (begins.run, True, None) == (again.run, again.decays, again.request)
    assert (False, None) == (later.decays, later.request)


def test_a_run_that_begins_under_another_schedule_takes_up_no_decay() -> None:
    tale = waiting("a")
    tale.tell(DecayRequested())

    assert (False, None) == (started(tale, "a").decays, started(tale, "a").request)


def stopped_at_once(name: str, run: str) -> tuple[Event, ...]:
    stopped = specimen(TrainingStopped, run=run, sha256=sha(name), step=0, global_step=0, checkpoint=None)
    return stopped, ServiceResumed(request=0)
