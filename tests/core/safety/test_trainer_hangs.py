"""The real trainer, standing still in a step: found, ended, and gone on with where its file stood."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.train.record import EVERY_SECONDS
from events.types import ProcessCrashed, ProcessHung, StepsCompleted, TrainingCompleted
from tests.core.safety.watch import Watch, watching
from tests.core.train.stand import ROWS, SETTINGS, Stand, tiny_network

FAULTS = Path(__file__).parent / "faults"
BLOCKED_AT = 3


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    """A run of some eighty steps is open; the optimizer's third will never return, once."""
    tiny_network().save_pretrained(tmp_path / "base")
    stand = Stand(tmp_path / "workspace", tmp_path / "base", SETTINGS)
    stand.start(stand.queue("a.jsonl", rows=4 * ROWS))
    (tmp_path / "faults").mkdir()
    (tmp_path / "faults" / f"block-{BLOCKED_AT}").touch()
    monkeypatch.setenv("FAULTS", str(tmp_path / "faults"))
    yield stand
    stand.log.close()


@pytest.fixture
def watch(stand: Stand) -> Iterator[Watch]:
    command = ["core.train", "--workspace", str(stand.workspace.root), "--idle-seconds", "0"]
    with watching(
        stand.workspace, {"trainer": command}, seconds=8 * EVERY_SECONDS, paths=[FAULTS]
    ) as watch:
        yield watch


def test_a_step_that_never_ends_is_found_with_its_place_while_the_recorder_lives(watch: Watch) -> None:
    hung, crash = watch.first(ProcessHung, 120), watch.first(ProcessCrashed)

    assert ("step", "trainer") == (hung.phase, hung.role)
    assert hung.frames[-1].endswith(" in happen")
    assert any("core/train/run.py" in place for place in hung.frames)
    assert ("timeout", BLOCKED_AT - 1) == (crash.category, crash.step)


@pytest.mark.chaos
def test_after_a_blocked_step_and_a_stopped_process_the_run_ends_as_planned(
    stand: Stand, watch: Watch
) -> None:
    blocked = watch.first(ProcessHung, 120)
    watch.wait(lambda: watch.beat("trainer")["pid"] != blocked.pid, 60, "the next trainer")
    watch.wait(lambda: watch.facts(StepsCompleted)[-1].first_step > BLOCKED_AT, 120, "its steps")
    os.kill(watch.beat("trainer")["pid"], signal.SIGSTOP)
    stopped = watch.first(ProcessHung, 120, n=2)
    completed = watch.first(TrainingCompleted, 200)

    run = stand.follower.catch_up().run.runs[completed.run]
    assert () == stopped.frames
    assert ["timeout", "timeout"] == [crash.category for crash in watch.facts(ProcessCrashed)]
    assert run.steps_planned == completed.steps
