"""The runs: where each stands, how often it died without getting further, how it ended."""

from math import inf, nan

from events.types import (
    MicroBatchHalved,
    PauseRequested,
    PhaseEntered,
    ServiceResumed,
    TrainingCompleted,
    TrainingInterrupted,
    TrainingPaused,
    TrainingRolledBack,
    TrainingStopped,
    ValidationMeasured,
)
from projections.run import Run
from tests.facts import sha, specimen
from tests.projections.story import Tale


def begun() -> Tale:
    tale = Tale()
    tale.begins()
    tale.queues("a")
    tale.starts("a", "r1")
    return tale


def run(tale: Tale, name: str = "r1") -> Run:
    return tale.state.run.runs[name]


def phase(tale: Tale, name: str) -> None:
    tale.tell(PhaseEntered(role="trainer", pid=7, phase=name, run="r1"))


def test_tries_that_get_no_further_are_counted_and_progress_starts_the_count_anew() -> None:
    tale, counted = begun(), []
    for step in (3, 3, 2, 5, 5):
        tale.crashes("r1", step)
        counted.append(run(tale).tries)

    assert [0, 1, 2, 0, 1] == counted


def test_before_step_one_a_later_phase_is_progress() -> None:
    tale, counted = begun(), []
    for reached in ("load", "eval", "eval", "load", "step"):
        phase(tale, reached)
        tale.crashes("r1", 0)
        counted.append(run(tale).tries)

    assert [1, 0, 1, 2, 0] == counted


def test_pause_stop_and_shutdown_are_no_tries() -> None:
    tale = begun()
    tale.crashes("r1", 0)
    asked = tale.tell(PauseRequested())
    tale.ends(TrainingPaused, "a", "r1", 0, request=asked)
    tale.tell(ServiceResumed(request=asked))
    tale.ends(TrainingInterrupted, "a", "r1", 0, signal="SIGTERM")

    assert 1 == run(tale).tries


def test_a_paused_run_holds_its_place_and_opens_again_with_the_resume() -> None:
    tale = begun()
    tale.ends(TrainingPaused, "a", "r1", 4, at=100, request=1)
    paused = tale.state.run
    tale.tell(ServiceResumed(request=2))

    assert paused.current is not None
    assert ("paused", "r1", 104) == (paused.current.state, paused.open, paused.global_step)
    assert "open" == run(tale).state


def test_a_stopped_run_is_found_again_by_its_file() -> None:
    tale = begun()
    tale.ends(TrainingStopped, "a", "r1", 4, request=1)

    found = tale.state.run.of_file(sha("a"))

    assert tale.state.run.open is None
    assert found is not None
    assert ("r1", 4) == (found.id, found.stopped_step)
    assert tale.state.run.of_file(sha("b")) is None


def test_of_two_stopped_runs_of_a_file_the_newer_one_goes_on() -> None:
    for first, second in (("r1", "r2"), ("r2", "r1")):  # a map of names has an order of its own
        tale = Tale()
        tale.begins()
        tale.queues("a")
        for name in (first, second):
            tale.starts("a", name)
            tale.ends(TrainingStopped, "a", name, 4, request=1)

        found = tale.state.run.of_file(sha("a"))

        assert found is not None
        assert second == found.id


def test_a_run_that_goes_on_keeps_its_history() -> None:
    tale = begun()
    tale.attempts("r1")
    tale.tell(specimen(ValidationMeasured, run="r1", kind="holdout", step=0, loss=6.0))
    tale.ends(TrainingStopped, "a", "r1", 4, request=1)
    first = run(tale)
    tale.starts("a", "r1", step=4, at=9)
    again = run(tale)

    assert (first.attempt, first.validations, first.first_started) == (
        again.attempt, again.validations, again.first_started,
    )  # fmt: skip
    assert first.started < again.started
    assert (4, 9, "open") == (again.step, again.global_step, again.state)


def test_the_first_validation_stays_and_the_newest_four_are_kept() -> None:
    tale = begun()
    for step in range(6):
        tale.tell(specimen(ValidationMeasured, run="r1", kind="holdout", step=step, loss=9.0 - step))
    tale.tell(specimen(ValidationMeasured, run="r1", kind="fixed", loss=7.5))

    found = run(tale)

    assert found.first_validation is not None
    assert 0 == found.first_validation.step
    assert [2, 3, 4, 5] == [v.step for v in found.validations]
    assert 7.5 == found.fixed_loss


def test_the_gap_is_unknown_while_nothing_was_trained() -> None:
    tale = begun()
    tale.tell(specimen(ValidationMeasured, run="r1", kind="holdout", step=0, loss=5.0, train_loss=None))
    tale.tell(specimen(ValidationMeasured, run="r1", kind="holdout", step=9, loss=4.0, train_loss=4.5))

    assert [None, -0.5] == [v.gap for v in run(tale).validations]


def test_the_end_of_a_run_frees_the_place() -> None:
    tale = begun()
    tale.ends(TrainingCompleted, "a", "r1", 10)

    runs = tale.state.run

    assert (None, None, "r1", 10) == (runs.current, runs.open, runs.latest, runs.global_step)
    assert "completed" == run(tale).state


def test_the_best_step_is_that_of_the_lowest_loss_on_the_fixed_set_where_there_is_one() -> None:
    for fixed_set, expected in ((None, (5, 6.0, "holdout")), (sha("fixed"), (9, 2.0, "fixed"))):
        tale = Tale()
        tale.begins()
        tale.queues("a")
        tale.starts("a", "r1", fixed_set=fixed_set)
        for kind, step, loss in (
            ("holdout", 0, 7.0), ("holdout", 5, 6.0), ("holdout", 9, 6.5),
            ("fixed", 0, 3.0), ("fixed", 5, 2.5), ("fixed", 9, 2.0), ("fixed", 12, 2.0),
        ):  # fmt: skip
            tale.tell(specimen(ValidationMeasured, run="r1", kind=kind, step=step, loss=loss))
        found = run(tale).best

        assert found is not None
        assert expected == (found.step, found.loss, found.kind)


def test_a_loss_that_is_not_finite_is_neither_best_nor_lowest() -> None:
    for losses in ((nan, 1.6, 1.5, 1.7), (1.6, inf, 1.5, 1.7), (1.5, nan, 1.7, nan)):
        tale = Tale()
        tale.begins()
        tale.queues("a")
        tale.starts("a", "r1", fixed_set=None)
        for step, loss in enumerate(losses):
            tale.tell(specimen(ValidationMeasured, run="r1", kind="holdout", step=step, loss=loss))
        best = run(tale).best

        assert best is not None
        assert (1.5, 1.5) == (best.loss, run(tale).lowest)


def test_losses_on_another_fixed_set_are_not_carried_over_when_a_stopped_run_goes_on() -> None:
    for again, expected in ((sha("one"), (2.0, 2.0)), (sha("other"), (None, None))):
        tale = Tale()
        tale.begins()
        tale.queues("a")
        tale.starts("a", "r1", fixed_set=sha("one"))
        tale.tell(specimen(ValidationMeasured, run="r1", kind="fixed", step=0, loss=2.0))
        tale.ends(TrainingStopped, "a", "r1", 4, request=1)
        tale.starts("a", "r1", step=4, fixed_set=again)
        found = run(tale)

        assert expected == (found.fixed_loss, found.best.loss if found.best else None)


def test_an_evaluation_done_again_takes_the_place_of_what_came_after_it() -> None:
    tale = begun()
    for step in (0, 5, 10, 15, 5):
        tale.tell(specimen(ValidationMeasured, run="r1", kind="holdout", step=step))

    assert [0, 5] == [validation.step for validation in run(tale).validations]


def test_going_back_forgets_what_was_measured_beyond_and_is_counted_over_a_stop() -> None:
    tale = begun()
    for step in (0, 5, 10):
        for kind in ("holdout", "fixed"):
            tale.tell(specimen(ValidationMeasured, run="r1", kind=kind, step=step, loss=nan if step else 1.0))
    tale.tell(specimen(MicroBatchHalved, run="r1", step=4, halvings=1))
    tale.tell(specimen(MicroBatchHalved, run="r1", step=9, halvings=2))
    tale.tell(specimen(TrainingRolledBack, run="r1", to_step=5, to_global_step=105))
    back = run(tale)
    asked = tale.tell(PauseRequested())
    tale.ends(TrainingStopped, "a", "r1", 5, request=asked)
    tale.starts("a", "r1", step=5)

    assert [0, 5] == [validation.step for validation in back.validations]
    assert None is back.fixed
    assert 1.0 == back.lowest
    assert (1, {4: 1, 9: 2}) == (run(tale).rollbacks, dict(run(tale).halvings))


def test_a_run_that_went_back_goes_on_from_there() -> None:
    tale = begun()
    tale.tell(specimen(TrainingRolledBack, run="r1", to_step=5, to_global_step=105))

    assert 105 == tale.state.run.global_step
    assert ("open", "r1") == (run(tale).state, tale.state.run.open)
