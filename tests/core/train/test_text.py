"""Real text through the real tokenizer: what is learned, and what is made again when a cache is gone."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from core.model.docstrings import harvest
from events.types import PhaseEntered, TrainingCompleted, ValidationMeasured
from tests.core.train.stand import SETTINGS, Stand


@pytest.fixture
def chats(tmp_path: Path, demo_base: Path) -> tuple[Stand, str]:
    """A workspace on the demo's base with a file of chats, examined and queued."""
    settings = replace(SETTINGS, max_length=256, batch_size=2, gradient_accumulation=1, eval_steps=1000)
    stand = Stand(tmp_path / "workspace", demo_base, settings)
    return stand, stand.bring("chats.jsonl", list(harvest(0, 150)))


def test_the_loss_on_rows_that_are_never_trained_falls_though_the_token_store_was_lost(
    chats: tuple[Stand, str],
) -> None:
    stand, sha256 = chats
    stand.start(sha256)
    shutil.rmtree(stand.workspace.tokens)
    stand.train()

    first, last = (recorded.event.loss for recorded in stand.facts(ValidationMeasured))
    assert last < first - 0.5
    assert 1 == len(stand.facts(TrainingCompleted))
    assert "tokenize" in [recorded.event.phase for recorded in stand.facts(PhaseEntered)]
