"""A file that kills the trainer each time costs that file alone; a stopped trainer costs none."""

import json
import os
import signal
from pathlib import Path

import pytest

from core.model.docstrings import harvest
from events.types import ProcessCrashed, TrainingCompleted, TrainingFailed
from tests.e2e.stage import ROOT, Stage

FAULTS = ROOT / "tests" / "core" / "safety" / "faults"
ROWS = 150


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_a_file_that_kills_the_trainer_each_time_fails_while_others_train(
    stage: Stage, tmp_path: Path
) -> None:
    faults = tmp_path / "faults"
    faults.mkdir()
    (faults / "always-segfault-1-poison").touch()
    stage.environment = {"PYTHONPATH": os.pathsep.join((str(FAULTS), str(ROOT))), "FAULTS": str(faults)}
    rows = harvest(3 * ROWS, ROWS)
    (stage.root / "inbox" / "high" / "poison.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    assert 1 == stage.serve_until_idle(timeout=800)

    (failed,) = [recorded.event for recorded in stage.facts(TrainingFailed)]
    crashes = [recorded.event for recorded in stage.facts(ProcessCrashed)]
    state = stage.state()
    assert isinstance(failed, TrainingFailed)
    assert failed.reason.startswith(f"{state.workspace.config['max_attempts']} tries ended without getting")
    assert {"segfault"} == {crash.category for crash in crashes if isinstance(crash, ProcessCrashed)}
    assert {"poison.jsonl": "failed", "file-1.jsonl": "completed", "file-2.jsonl": "completed"} == {
        entry.name: entry.state for entry in state.queue.entries.values()
    }
    assert (stage.root / "queue" / "failed" / "poison.jsonl").exists()
    assert 2 == len(stage.facts(TrainingCompleted))


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_five_kills_at_one_and_the_same_place_cost_no_file(stage: Stage) -> None:
    stage.serve("--until-idle")
    killed = 0
    while killed < 5:
        stage.wait_for(lambda state: state.run.current is not None, "an open run")
        pid = stage.pid("trainer")
        if pid is not None:
            os.kill(pid, signal.SIGKILL)  # while it loads: no try gets any further
            killed += 1
            stage.wait_for_fact(ProcessCrashed, killed)
    assert stage.process is not None
    assert 0 == stage.process.wait(800)

    assert [] == stage.facts(TrainingFailed)
    assert {"completed"} == {entry.state for entry in stage.state().queue.entries.values()}
