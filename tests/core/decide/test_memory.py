"""The memory estimate: the sums of a known model, and how each term moves with what it depends on."""

from dataclasses import replace

import pytest

from core.decide import memory
from core.decide.memory import GIB, Dimensions, estimate, parameters, total

QWEN = Dimensions(
    layers=28, hidden=1024, intermediate=3072, heads=16, kv_heads=8, head_size=128, vocabulary=151_936,
    tied=True, qk_norm=True,
)  # fmt: skip


def expected(name: str, model: Dimensions = QWEN, **changed: object) -> float:
    """One term in GiB, on a GPU unless told otherwise."""
    asked = {"tokens": 4096, "precision": "auto", "checkpointing": True, "device": "cuda"} | changed
    terms = {term.name: term for term in estimate(model, **asked)}  # type: ignore[arg-type]
    return terms[name].expected / GIB


def test_qwen3_has_the_parameters_that_its_files_hold() -> None:
    assert 596_049_920 == parameters(QWEN)
    assert 596_049_920 + 151_936 * 1024 == parameters(replace(QWEN, tied=False))
    assert 7 == parameters(replace(QWEN, counted=7))
    assert parameters(QWEN) < parameters(replace(QWEN, attention_bias=True))


def test_fp32_master_weights_of_qwen3_fit_on_a_card_of_24_gb() -> None:
    whole = total(
        estimate(QWEN, tokens=4096, precision="auto", checkpointing=True, device="cuda"), host=False
    )

    assert 12 < whole.expected / GIB < 13
    assert whole.low < whole.expected < whole.high < 24e9


def test_static_terms_are_bytes_per_parameter() -> None:
    static = sum(expected(name) for name in ("weights", "gradients", "moments"))
    half = sum(expected(name, precision="pure_bf16") for name in ("weights", "gradients", "moments"))

    assert parameters(QWEN) * 16 / GIB == pytest.approx(static)
    assert static / 2 == pytest.approx(half)


def test_activations_grow_with_tokens_and_shrink_by_recomputation() -> None:
    eager = expected("activations", checkpointing=False)

    assert 8.5 < eager < 9.9
    assert 2 * eager == pytest.approx(expected("activations", checkpointing=False, tokens=8192))
    assert expected("activations") < eager / 10
    assert expected("activations") == expected("activations", checkpointing="auto")
    assert expected("activations", checkpointing="auto", device="cpu") > eager


def test_only_mixed_precision_makes_copies() -> None:
    names = {
        precision: {
            term.name
            for term in estimate(QWEN, tokens=9, precision=precision, checkpointing=False, device="cpu")
        }
        for precision in ("auto", "fp32", "bf16", "pure_bf16")
    }

    assert {"bf16"} == {precision for precision, found in names.items() if "autocast copies" in found}


def test_logits_do_not_grow_with_the_window() -> None:
    from core.train.losses import CHUNK_LOGITS

    assert CHUNK_LOGITS == memory.CHUNK_LOGITS
    assert expected("logits chunk") == expected("logits chunk", tokens=32_768)


def test_every_term_is_in_order() -> None:
    for device in ("cpu", "cuda"):
        for term in estimate(QWEN, tokens=64, precision="auto", checkpointing="auto", device=device):
            assert 0 <= term.low <= term.expected <= term.high, term
            assert term.expected > 0, term
