"""A disaster in the middle of a run: what was restored elsewhere ends where nothing had happened."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from events.types import AttemptStarted, BackupVerified
from tests.e2e.stage import Outcome, Stage, outcome, wait


@pytest.mark.timeout(900)
def test_a_workspace_restored_elsewhere_goes_on_bit_for_bit(
    stage: Stage, undisturbed: Outcome, evertrain: Callable[..., object], tmp_path: Path
) -> None:
    with stage.serving():
        # in the second file: there is a version, and a backup by schedule is under way or done
        wait(lambda: stage.step() > undisturbed.global_step * 3 // 4, 200, "the second file's middle")
    evertrain("backup", "now", "--wait", "--workspace", stage.root)
    copy = Stage(tmp_path / "elsewhere" / "copy")
    evertrain("backup", "restore", copy.root, "--target", stage.root / "backups")
    stood = stage.state().storage.usable[0]
    shutil.rmtree(stage.root)
    evertrain("verify", "--deep", "--workspace", copy.root)

    assert 0 == copy.serve_until_idle()
    assert undisturbed == outcome(copy.root)
    went_on = copy.facts(AttemptStarted)[-1].event
    assert isinstance(went_on, AttemptStarted)
    assert stood.path == went_on.checkpoint


@pytest.mark.timeout(600)
def test_the_service_takes_the_first_backup_by_itself(stage: Stage) -> None:
    with stage.serving():
        stage.wait_for_fact(BackupVerified)

    assert stage.state().storage.backups["b0001"].versions[:1] == ("v0001",)
