"""A small model on Qwen3's own tokenizer trains a file of `messages`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from events.types import StepsCompleted, ValidationMeasured
from tests.e2e.stage import Stage


@pytest.fixture
def qwen_base(tmp_path: Path, shared: Path) -> Path:
    """Random weights, the real tokenizer and template; the embedding has more rows than there are tokens."""
    import torch
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

    folder = tmp_path / "qwen3-tiny"
    config = Qwen3Config(
        vocab_size=151_936,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=151_643,
        eos_token_id=151_645,
        pad_token_id=151_643,
    )
    torch.manual_seed(0)
    Qwen3ForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(
        shared / "models" / "qwen3-tokenizer", local_files_only=True
    ).save_pretrained(folder)
    return folder


@pytest.mark.timeout(400)
def test_a_model_on_qwens_tokenizer_trains_messages(
    tmp_path: Path, qwen_base: Path, shared: Path, evertrain: Callable[..., Any]
) -> None:
    stage = Stage(tmp_path / "workspace")
    evertrain("init", "--base", qwen_base, "--workspace", stage.root)
    config = {
        "gradient_accumulation": 2,
        "max_length": 512,
        "learning_rate": 1e-2,
        "warmup_steps": 0,
        "poll_interval": 0.5,
        "disk_floor_gb": 0,
    }
    (stage.root / "config.json").write_text(json.dumps(config))
    source = shared / "data" / "gsm8k-train" / "train.jsonl"
    rows = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()[:40]]
    chats = [
        {
            "messages": [
                {"role": "user", "content": r["question"]},
                {"role": "assistant", "content": r["answer"]},
            ]
        }
        for r in rows
    ]
    (stage.root / "inbox" / "gsm8k.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))

    assert 0 == stage.serve_until_idle()

    measured = [e for r in stage.facts(ValidationMeasured) if isinstance(e := r.event, ValidationMeasured)]
    assert measured[-1].loss < measured[0].loss
    assert len(stage.facts(StepsCompleted)) >= 1
    state = stage.state()
    assert ["v0001"] == list(state.versions.order)
    (file,) = state.inbox.files.values()
    assert ("messages", 40, 40) == (file.format, file.rows, file.accepted_rows)
