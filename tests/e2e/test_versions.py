"""A real service goes back to a version and makes a release: history branches, training goes on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.model.docstrings import harvest
from events.types import VersionPublished, VersionRestored
from tests.e2e.stage import Stage, sha256, wait


def keeps_every_point(stage: Stage) -> None:
    """So that the moments of the first version are still there when it is restored."""
    config = json.loads(stage.workspace.config.read_text())
    stage.workspace.config.write_text(json.dumps(config | {"checkpoints_keep": 50}))


def drops(stage: Stage, number: int) -> None:
    rows = "".join(json.dumps(row) + "\n" for row in harvest(number * 150, 150))
    (stage.root / "inbox" / f"file-{number}.jsonl").write_text(rows, encoding="utf-8")


@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_after_a_release_and_a_restore_a_served_workspace_trains_as_if_nothing_had_been_between(
    stage: Stage, fresh: Path, tmp_path: Path, evertrain: Callable[..., Any]
) -> None:
    shutil.copytree(fresh, tmp_path / "straight")
    straight = Stage(tmp_path / "straight")
    (straight.root / "inbox" / "file-2.jsonl").unlink()
    drops(straight, 3)
    for each in (straight, stage):
        keeps_every_point(each)
    assert 0 == straight.serve_until_idle()

    assert 0 == stage.serve_until_idle()
    with stage.serving():
        wait(lambda: stage.pid("daemon") is not None, 60, "the daemon")
        evertrain("consolidate", "--average", "2", "--wait", "--workspace", stage.root, timeout=300)
        stood_at = stage.state().run.global_step
        evertrain("versions", "restore", "v0001", "--wait", "--workspace", stage.root)
        drops(stage, 3)
        stage.wait_for_fact(VersionPublished, n=4, timeout=300)
        assert 0 == stage.terminate()
    versions = stage.state().versions
    last, expected = versions.versions["v0004"], straight.state().versions.versions["v0002"]
    (restored,) = (recorded.event for recorded in stage.facts(VersionRestored))

    assert isinstance(restored, VersionRestored)
    assert "kept" == restored.moments
    assert ["run", "run", "release", "run"] == [versions.versions[name].kind for name in versions.order]
    assert ("v0002", "v0001") == (versions.versions["v0003"].parent, last.parent)
    assert stood_at == versions.versions["v0003"].global_step
    assert (expected.weights_sha256, expected.global_step) == (last.weights_sha256, last.global_step)
    assert expected.weights_sha256 == sha256(stage.workspace.current_model / "model.safetensors")
    evertrain("verify", "--deep", "--workspace", stage.root)
