"""Real text through the real tokenizer: what is learned, and what is made again when a cache is gone."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from core.intake.template import Renderer
from core.intake.validate import examine
from core.model.docstrings import harvest
from events.types import (
    FilePlaced,
    FileQueued,
    FileReceived,
    FileValidated,
    PhaseEntered,
    TrainingCompleted,
    ValidationMeasured,
)
from tests.core.train.stand import SETTINGS, Stand


@pytest.fixture
def chats(tmp_path: Path, demo_base: Path) -> tuple[Stand, str]:
    """A workspace on the demo's base with a file of chats, examined and queued."""
    settings = replace(SETTINGS, max_length=256, batch_size=2, gradient_accumulation=1, eval_steps=1000)
    stand = Stand(tmp_path / "workspace", demo_base, settings)
    path = stand.workspace.queue / "processing" / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in harvest(0, 150)), encoding="utf-8")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    report = examine(
        path,
        sha256=sha256,
        renderer=Renderer(demo_base),
        settings=settings,
        store=stand.workspace.tokens,
    )
    stand.log.append(
        FileReceived(
            sha256=sha256,
            name=path.name,
            original=path.name,
            priority="normal",
            size_bytes=path.stat().st_size,
            source_inode=1,
            source_mtime_ns=1,
        ),
        FileValidated(
            sha256=sha256,
            verdict=report.verdict,
            format=report.format,
            rows=report.rows,
            accepted_rows=report.accepted_rows,
            dropped_rows=report.dropped_rows,
            tokens=report.tokens,
            trainable_tokens=report.trainable_tokens,
            counts=report.counts,
            warnings=report.warnings,
            store=report.store or "",
            seconds=0.0,
        ),
        FileQueued(sha256=sha256, priority="normal"),
        FilePlaced(sha256=sha256, path=stand.workspace.relative(path)),
    )
    return stand, sha256


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
