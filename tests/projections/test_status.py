"""The status: given what happened and who is alive, one word and what is waited for."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from events.types import (
    AlertCleared,
    AlertRaised,
    FileReceived,
    PauseRequested,
    ProcessCrashed,
    ProcessStarted,
    ServicePaused,
    ServiceStopped,
    StepsCompleted,
    StopRequested,
    TrainingPaused,
)
from projections import status
from projections.fold import FOLDED, fold
from tests.web.story import Story, sha

NOW = 1_800_000_000_000_000


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    told = Story(tmp_path)
    yield told
    told.log.close()


def alive(*roles: str, ago: float = 0.2) -> dict[str, dict[str, Any]]:
    return {role: {"pid": 1, "phase": "idle", "at": NOW - int(ago * 1e6)} for role in roles}


def document(story: Story, beats: Any = None, sample: Any = None) -> dict[str, Any]:
    state = fold(story.log.read(types=FOLDED))
    steps = story.log.last(32, StepsCompleted)
    return status.document(state, steps, alive("daemon") if beats is None else beats, sample or {}, NOW)


def word(story: Story, beats: Any = None) -> str:
    found: str = document(story, beats)["status"]
    return found


def test_nothing_to_do_is_idle(story: Story) -> None:
    assert "idle" == word(story)


def test_a_file_being_checked_is_validating(story: Story) -> None:
    story.tell(FileReceived(sha256=sha("a"), name="a", original="a", priority="low", size_bytes=1,
                            source_inode=1, source_mtime_ns=1))  # fmt: skip

    assert "validating" == word(story)


def test_an_open_run_is_training(story: Story) -> None:
    story.waits("a.jsonl")
    story.starts("a.jsonl")

    assert "training" == word(story)


@pytest.mark.parametrize(
    "beats", [{}, alive("daemon", ago=60), {"daemon": {"pid": 1, "phase": "gone", "at": NOW}}]
)
def test_work_without_a_service_waits_and_says_for_what(story: Story, beats: Any) -> None:
    story.waits("a.jsonl")
    found = document(story, beats)

    assert "waiting" == found["status"]
    assert "evertrain serve" in found["waiting_for"]


def test_pause_and_stop_show_whether_or_not_anything_runs(story: Story) -> None:
    story.tell(ServicePaused(request=story.tell(PauseRequested())))
    assert "paused" == word(story)
    story.tell(ServiceStopped(request=story.tell(StopRequested())))
    found = document(story)

    assert "stopped" == found["status"]
    assert "evertrain resume" in found["waiting_for"]


def test_a_paused_run_keeps_its_numbers(story: Story) -> None:
    story.waits("a.jsonl")
    story.starts("a.jsonl")
    story.steps(1, 4, loss=3.5)
    story.tell(TrainingPaused(run="r1", sha256=sha("a.jsonl"), step=4, global_step=4, checkpoint=None,
                              request=story.tell(PauseRequested())))  # fmt: skip
    found = document(story)

    assert ("paused", 3.5, None) == (found["status"], found["loss"], found["eta_seconds"])
    assert 4 == found["run"]["step"]


def test_a_crashed_trainer_is_waited_for(story: Story) -> None:
    story.waits("a.jsonl")
    story.starts("a.jsonl")
    story.tell(ProcessStarted(role="trainer", pid=9))
    story.tell(ProcessCrashed(role="trainer", pid=9, exit_code=None, signal="SIGKILL", error="SIGKILL"))

    assert "waiting" == word(story)


@pytest.mark.parametrize("kind", ["waiting", "waiting:run", "waiting:publish"])
def test_a_full_disk_is_waited_for_with_its_reason_unless_a_run_is_under_way(story: Story, kind: str) -> None:
    story.tell(AlertRaised(severity="serious", type=kind, detail="it needs more"))
    found = document(story)
    story.waits("a.jsonl")
    story.starts("a.jsonl")
    training = word(story)
    story.tell(AlertRaised(severity="serious", type="waiting:save", detail="the save needs more"))
    saving = document(story)

    assert ("waiting", "it needs more") == (found["status"], found["waiting_for"])
    assert "training" == training
    assert ("waiting", "the save needs more") == (saving["status"], saving["waiting_for"])


def test_only_a_fatal_alert_fails_the_service(story: Story) -> None:
    story.tell(AlertRaised(severity="serious", type="disk", detail="nearly full"))
    assert "idle" == word(story)
    story.tell(AlertRaised(severity="fatal", type="model", detail="the base model is gone"))
    found = document(story)
    assert ("failed", "the base model is gone") == (found["status"], found["waiting_for"])
    story.tell(AlertCleared(type="model"))

    assert "idle" == word(story)


def test_the_numbers_are_those_of_the_newest_step(story: Story) -> None:
    story.waits("a.jsonl")
    story.starts("a.jsonl", planned=100, at=50)
    story.steps(1, 9, at=50)
    story.steps(10, 1, at=50, loss=2.5)
    story.validates(10, 3.0, at=50)
    found = document(story)

    assert (2.5, 3.0) == (found["loss"], found["validation_loss"])
    assert math.isclose(0.1, found["val_train_gap"])
    assert (60, 150) == (found["current_step"], found["total_steps"])
    assert 90 * 0.5 == found["eta_seconds"]
    assert 2048 == found["tokens_per_sec"]
    assert story.log.head() == found["seq"]


def test_the_best_evaluation_of_the_run_is_told(story: Story) -> None:
    story.waits("a.jsonl")
    story.starts("a.jsonl", planned=100, at=50)
    before = document(story)["run"]["best"]
    for step, loss in ((0, 4.0), (5, 2.0), (10, 3.0)):
        story.validates(step, loss, at=50)

    assert None is before
    best = {"step": 5, "global_step": 55, "loss": 2.0, "kind": "holdout"}
    assert best == document(story)["run"]["best"]


def test_unknown_is_null_and_never_zero(story: Story) -> None:
    found = document(story)
    unknown = ("loss", "validation_loss", "val_train_gap", "fixed_validation_loss", "learning_rate",
               "grad_norm", "tokens_per_sec", "eta_seconds", "current_version", "run", "ram",
               "disk")  # fmt: skip

    assert [None] * len(unknown) == [found[key] for key in unknown]
    assert [] == found["gpu"]


def test_between_two_runs_the_newest_loss_stays_and_the_new_run_stands_at_its_beginning(story: Story) -> None:
    story.trained("a.jsonl", "v0001", "r1", 20)
    before = document(story)["loss"]
    story.waits("b.jsonl")
    story.starts("b.jsonl", "r2", at=20)
    found = document(story)

    assert before is not None
    assert (before, 0, 20) == (found["loss"], found["run"]["step"], found["current_step"])


def test_processes_are_listed_with_the_age_of_their_last_word(story: Story) -> None:
    beats = alive("daemon", ago=3) | {"trainer": {"pid": 7, "phase": "gone", "at": NOW}}
    found = document(story, beats)["processes"]

    assert {"pid": 1, "phase": "idle", "age_seconds": 3.0} == found["daemon"]
    assert found["trainer"] is None and found["watchdog"] is None


def test_what_was_measured_is_passed_on(story: Story) -> None:
    sample = {"gpu": [{"name": "x"}], "ram": {"used_bytes": 1, "total_bytes": 2}, "disk": {"free_bytes": 3}}
    found = document(story, sample=sample)

    assert sample == {key: found[key] for key in sample}


def test_times_carry_their_zone() -> None:
    assert "1970-01-01T00:00:01.500+00:00" == status.iso(1_500_000)
