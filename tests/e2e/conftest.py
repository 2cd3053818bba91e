"""A real service on a real workspace, and what an undisturbed run of two files ends in."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.stage import Outcome, Stage, expected_rows, outcome

ROWS = 150  # of one file
CONFIG = {
    "batch_size": 2,
    "gradient_accumulation": 2,
    "learning_rate": 3e-3,
    "warmup_steps": 5,
    "max_length": 256,
    "too_long": "truncate",
    "eval_steps": 10,
    "save_steps": 6,
    "poll_interval": 0.5,
    "disk_floor_gb": 0,
    "disk_target_gb": 0,
    "epochs": 2,
    "fixed_validation": "fixed.jsonl",
}
SHARED = 4  # rows of the first file that stand in the fixed set


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, demo_base: Path) -> Path:
    """The demo's model with dropout, so that the random numbers of every step matter."""
    folder = tmp_path_factory.mktemp("e2e") / "dropout"
    shutil.copytree(demo_base, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attention_dropout": 0.1}))
    return folder


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory, base: Path, evertrain: Callable[..., object]) -> Path:
    """A workspace with its settings, a fixed set and two files in the inbox, never served."""
    from core.model.docstrings import harvest

    root = tmp_path_factory.mktemp("fresh") / "workspace"
    evertrain("init", "--base", base, "--workspace", root)
    (root / "config.json").write_text(json.dumps(CONFIG))
    for number in (1, 2):
        rows = harvest(number * ROWS, ROWS)
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (root / "inbox" / f"file-{number}.jsonl").write_text(lines, encoding="utf-8")
    fixed = [*harvest(ROWS, SHARED), *harvest(3 * ROWS, 3 * SHARED)]
    (root / "fixed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in fixed), encoding="utf-8")
    return root


@pytest.fixture
def stage(fresh: Path, tmp_path: Path) -> Stage:
    """A workspace of one's own, ready to be served."""
    root = tmp_path / "workspace"
    shutil.copytree(fresh, root)
    return Stage(root)


@pytest.fixture(scope="session")
def undisturbed(fresh: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What two files come to when nobody interferes."""
    root = tmp_path_factory.mktemp("undisturbed") / "workspace"
    shutil.copytree(fresh, root)
    stage = Stage(root)
    assert 0 == stage.serve_until_idle()
    found = outcome(root)
    assert expected_rows(stage) == found.rows
    return found
