"""Pause, stop, skip and shutdown: four different things, and none loses a step."""

from collections.abc import Callable
from typing import Any

import pytest

from events.types import (
    CheckpointSaved,
    ProcessExited,
    StepsCompleted,
    TrainingInterrupted,
    TrainingPaused,
    TrainingSkipped,
    TrainingStopped,
)
from tests.e2e.stage import Outcome, Stage, expected_rows, outcome, wait


@pytest.mark.timeout(600)
def test_interrupted_in_every_way_it_comes_to_the_same(
    stage: Stage, undisturbed: Outcome, evertrain: Callable[..., Any]
) -> None:
    def say(*words: str) -> Any:
        return evertrain(*words, "--workspace", stage.root)

    # pause, the power goes, still paused, and on
    with stage.serving():
        stage.wait_for_fact(StepsCompleted)
        say("pause", "--wait")
        assert 1 == len(stage.facts(TrainingPaused))
        wait(lambda: stage.pid("trainer") is None, 20, "the trainer to free the device")
    with stage.serving():
        wait(lambda: stage.pid("daemon") is not None, 30, "the daemon")
        assert "paused" == stage.state().control.mode
        steps = stage.step()
        say("resume", "--wait")
        wait(lambda: stage.step() > steps, 60, "training to go on")

        # SIGTERM in the middle of steps: it ends by itself
        assert 0 == stage.terminate()
    assert 1 == len(stage.facts(TrainingInterrupted))
    assert {0} == {e.exit_code for e in _exits(stage, "trainer")}

    # SIGTERM in the middle of a save
    with stage.serving():
        partial = stage.workspace.current_model
        saves = len(stage.facts(CheckpointSaved))
        wait(
            lambda: list(partial.glob(".checkpoint-*")) or len(stage.facts(CheckpointSaved)) > saves,
            60,
            "a save",
        )
        assert 0 == stage.terminate()
    assert [] == list(stage.workspace.current_model.glob(".checkpoint-*"))

    # stop: the file goes back to the head of its level, with its position
    with stage.serving():
        stage.wait_for(lambda s: s.run.current is not None, "a run")
        stage.wait_for_fact(StepsCompleted, n=len(stage.facts(StepsCompleted)) + 1)
        name = stage.state().run.current
        say("stop", "--wait")
        assert 1 == len(stage.facts(TrainingStopped))
        state = stage.state()
        assert name is not None and name.sha256 == state.queue.waiting[0]
        stage.wait_for(lambda s: not s.queue.unsettled, "the file to be back")
        assert (stage.root / "queue" / "normal" / name.file).is_file()
    say("resume")
    assert 0 == stage.serve_until_idle()

    assert undisturbed == outcome(stage.root)
    assert expected_rows(stage) == outcome(stage.root).rows


def _exits(stage: Stage, role: str) -> list[ProcessExited]:
    return [
        e for r in stage.facts(ProcessExited) if isinstance(e := r.event, ProcessExited) and e.role == role
    ]


@pytest.mark.timeout(300)
def test_a_skipped_file_makes_no_version_and_can_be_retried(
    stage: Stage, evertrain: Callable[..., Any]
) -> None:
    with stage.serving():
        stage.wait_for_fact(StepsCompleted)
        skipped = stage.state().run.current
        assert skipped is not None
        evertrain("skip", "--wait", "--workspace", stage.root)

        assert 1 == len(stage.facts(TrainingSkipped))
        state = stage.wait_for(lambda s: s.versions.order, "the other file's version")
    assert "skipped" == state.queue.entries[skipped.sha256].state
    assert skipped.file not in [v.file for v in state.versions.versions.values()]
    assert (stage.root / "queue" / "failed" / skipped.file).is_file()
    assert (stage.root / "queue" / "failed" / f"{skipped.file}.report.json").is_file()
    evertrain("queue", "retry", skipped.file, "--workspace", stage.root)
    assert "validating" == stage.state().queue.entries[skipped.sha256].state
    assert not (stage.root / "queue" / "failed" / f"{skipped.file}.report.json").exists()
