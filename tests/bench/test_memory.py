"""The memory estimate against what real trainers take on the CPU: every peak lies between low and high."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from core.decide.memory import GIB
from events.types import MemoryMeasured, MemoryPlanned
from tests.core.train.stand import SETTINGS, Stand, only

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

#: Name → sizes of a Qwen3, tokens of a window, windows of a micro-batch.
MODELS = {
    "14 M, vocabulary 8,192": ((6, 384, 1024, 6, 2, 64, 8192, True), 2048, 1),
    "20 M, vocabulary 151,936": ((4, 128, 384, 4, 2, 32, 151_936, True), 1024, 1),
    "90 M, head of its own": ((10, 640, 1920, 10, 2, 64, 32_000, False), 1024, 1),
}


def write(folder: Path, sizes: tuple[int, ...]) -> None:
    """A Qwen3 of these sizes with random weights."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    layers, hidden, intermediate, heads, kv_heads, head_size, vocabulary, tied = sizes
    config = Qwen3Config(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers,
        head_dim=head_size, num_attention_heads=heads, num_key_value_heads=kv_heads,
        tie_word_embeddings=bool(tied), max_position_embeddings=4096, bos_token_id=None, eos_token_id=1,
        pad_token_id=0,
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(folder)


@pytest.mark.parametrize("name", MODELS)
def test_a_trainers_peak_lies_within_the_estimate(name: str, tmp_path: Path) -> None:
    sizes, max_length, batch_size = MODELS[name]
    write(tmp_path / "base", sizes)
    for again in (False, True):
        settings = replace(
            SETTINGS, max_length=max_length, batch_size=batch_size, gradient_accumulation=2,
            gradient_checkpointing=again, save_steps=2, eval_steps=1000, validation_max_rows=2,
        )  # fmt: skip
        stand = Stand(tmp_path / f"recompute-{again}", tmp_path / "base", settings)
        stand.start(stand.queue("a.jsonl", rows=max_length * batch_size * 6 // 30))
        assert 0 == stand.spawn().wait()
        planned, measured = only(stand, MemoryPlanned), only(stand, MemoryMeasured)
        low, expected, high = (sum(sizes) for sizes in zip(*planned.terms.values(), strict=True))
        tell(name, again, measured.peak_bytes, low, expected, high)

        assert measured.steps >= 2
        assert low <= measured.peak_bytes <= high
        assert planned.checkpointing is again


def tell(name: str, again: bool, peak: int, low: int, expected: int, high: int) -> None:
    what = f"{name}, activations {'computed again' if again else 'kept'}"
    sizes = {"peak": peak, "low": low, "expected": expected, "high": high}
    row = {key: round(size / GIB, 3) for key, size in sizes.items()}
    print(f"\n{what:<55} GiB: {row}")
    if path := os.environ.get("BENCH_JSON"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"what": what, "unit": "GiB", **row}) + "\n")
