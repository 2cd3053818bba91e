"""Halts: pause, stop, skip and shutdown end a run at a step boundary, and lead to the same bits."""

from collections.abc import Callable

import pytest

from events.types import (
    AttemptStarted,
    Event,
    PauseRequested,
    ResumeRequested,
    SkipRequested,
    StopRequested,
    TrainingCompleted,
    TrainingInterrupted,
    TrainingPaused,
    TrainingSkipped,
    TrainingStopped,
    ValidationMeasured,
)
from tests.core.train.stand import ROWS, Stand, StopAfter, column, only

Make = Callable[..., Stand]
HALTS: list[tuple[type[Event], type[Event]]] = [
    (PauseRequested, TrainingPaused),
    (StopRequested, TrainingStopped),
]


@pytest.mark.parametrize(("request_type", "outcome"), HALTS)
def test_a_halt_on_request_saves_at_the_step_boundary_and_goes_on_to_the_same_bits(
    make_stand: Make, undisturbed: Stand, request_type: type[Event], outcome: type[Event]
) -> None:
    halted = make_stand("halted")
    halted.start(halted.queue("a.jsonl", rows=ROWS))
    waiting = halted.when(ValidationMeasured, request_type(), count=2)
    halted.train()
    waiting.join()
    ended = only(halted, outcome)

    asked = halted.facts(request_type)[0].seq
    assert asked == ended.request
    assert 5 <= ended.step < halted.follower.catch_up().run.runs[ended.run].steps_planned
    assert ended.checkpoint in halted.follower.state.storage.checkpoints
    assert not halted.follower.state.control.pending
    halted.train()  # nothing: it is paused or stopped
    assert 1 == len(halted.facts(AttemptStarted))
    halted.resume()
    if outcome is TrainingStopped:
        halted.start(ended.sha256)
    halted.train()
    assert undisturbed.final() == halted.final()
    assert column(undisturbed, "loss") == column(halted, "loss")


def test_a_skip_ends_the_run_and_keeps_its_steps(stand: Stand) -> None:
    run = stand.start(stand.queue("a.jsonl", rows=ROWS))
    waiting = stand.when(ValidationMeasured, SkipRequested(run=run), count=2)
    stand.train()
    waiting.join()
    skipped = only(stand, TrainingSkipped)

    assert "skipped" == stand.follower.catch_up().run.runs[run].state
    assert skipped.checkpoint == stand.follower.state.storage.usable[0].path
    assert [] == stand.facts(TrainingCompleted)
    stand.start(stand.queue("b.jsonl", seed=2))
    stand.train()
    assert skipped.global_step == stand.facts(AttemptStarted)[-1].event.global_step


def test_a_pause_that_was_taken_back_halts_nothing(stand: Stand) -> None:
    stand.start(stand.queue("a.jsonl", rows=100))
    waiting = stand.when(ValidationMeasured, PauseRequested(), ResumeRequested(), count=2)
    stand.train()
    waiting.join()

    assert [] == stand.facts(TrainingPaused)
    assert 1 == len(stand.facts(TrainingCompleted))


@pytest.mark.parametrize("looks", [2, 9])
def test_a_shutdown_anywhere_goes_on_to_the_same_bits(
    make_stand: Make, undisturbed: Stand, looks: int
) -> None:
    halted = make_stand("halted")
    halted.start(halted.queue("a.jsonl", rows=ROWS))
    halted.train(stop=StopAfter(looks))
    interrupted = only(halted, TrainingInterrupted)
    halted.train()

    assert "SIGTERM" == interrupted.signal
    assert undisturbed.final() == halted.final()
    measured = [[r.event.step for r in stand.facts(ValidationMeasured)] for stand in (undisturbed, halted)]
    assert measured[0] == measured[1]
    assert [r.event.loss for r in undisturbed.facts(ValidationMeasured)] == [
        r.event.loss for r in halted.facts(ValidationMeasured)
    ]
