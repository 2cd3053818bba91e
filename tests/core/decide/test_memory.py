"""The memory estimate: the sums of a known model, and how each term moves with what it depends on."""

from dataclasses import replace

import pytest

from core.decide import memory
from core.decide.memory import (
    GIB,
    Choice,
    Dimensions,
    Room,
    Term,
    capacity,
    cards,
    choose,
    corrected,
    estimate,
    lacks,
    on_device,
    parameters,
    total,
    words,
)
from core.settings import Settings

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
    assert expected("activations") < eager / 8
    assert expected("activations", checkpointing=False, device="cpu") > eager


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
    assert expected("logits chunk") == expected("logits chunk", tokens=32_768)


def test_every_term_is_in_order() -> None:
    for device in ("cpu", "cuda"):
        for term in estimate(QWEN, tokens=64, precision="auto", checkpointing=True, device=device):
            assert 0 <= term.low <= term.expected <= term.high, term
            assert term.expected > 0, term


# -- what is chosen ----------------------------------------------------------------------------------


def chosen(gigabytes: float, *, ratio: float = 1.0, **settings: object) -> Choice:
    """For Qwen3 on a card of this size, with main memory enough."""
    asked = replace(Settings(), **settings)  # type: ignore[arg-type]
    room = Room("cuda", int(gigabytes * 1e9), 64 * GIB)
    return choose(QWEN, asked, room, lambda times: capacity(asked, times), lambda *_: ratio)


def test_24_gb_suffice_for_qwen3_with_fp32_master_weights_at_4096_tokens() -> None:
    fitting = cards(QWEN, Settings())
    weights = {term.name: term.expected for term in fitting[24].terms}

    assert 24 in fitting and 8 not in fitting
    assert 596_049_920 * 4 == weights["weights"] == weights["gradients"] == weights["moments"] // 2
    assert (True, 0, 4096) == (fitting[24].checkpointing, fitting[24].halvings, fitting[24].tokens)
    assert f"weights {596_049_920 * 4 / GIB:.2f} + gradients" in words(fitting[24].terms)
    assert f"= {total(fitting[24].terms).expected / GIB:.2f} GiB" in words(fitting[24].terms)


def test_activations_are_kept_where_even_the_high_estimate_leaves_a_margin() -> None:
    kept = estimate(QWEN, tokens=4096, precision="auto", checkpointing=False, device="cuda")
    needed = total(kept, host=False).high / (1 - memory.MARGIN) / 1e9

    assert [False, True] == [chosen(needed + step).checkpointing for step in (0.1, -0.1)]
    assert chosen(80, gradient_checkpointing=True).checkpointing
    assert not chosen(needed - 0.1, gradient_checkpointing=False).checkpointing


def test_micro_batches_are_halved_only_until_what_is_expected_fits() -> None:
    found = [chosen(size, batch_size=4) for size in (80, 24, 14, 12.5, 11.8)]
    halvings = [one.halvings for one in found]

    assert 0 == halvings[0]
    assert sorted(halvings) == halvings
    assert halvings[-1] > 0
    assert [4 * 4096 // 2**times for times in halvings] == [one.tokens for one in found]
    for size, one in zip((80, 24, 14, 12.5, 11.8), found, strict=True):
        room = Room("cuda", int(size * 1e9), 64 * GIB)
        assert one.halvings == memory.MOST_HALVINGS or not lacks(one.terms, room, "expected")


def test_what_cannot_be_halved_is_not() -> None:
    room = Room("cuda", GIB, GIB)
    one = choose(QWEN, Settings(), room, lambda times: 4096)

    assert 0 == one.halvings
    assert lacks(one.terms, room, "low") > 0


def test_a_measured_peak_moves_what_is_expected_and_what_is_chosen() -> None:
    limits = [corrected(Term("total", 10, 20, 30), ratio) for ratio in (0.1, 0.75, 1.0, 1.25, 9.0)]
    sizes = [13.5, 13.0, 12.5, 12.0]

    assert [10, 15, 20, 25, 40] == [term.expected for term in limits]
    assert [(10, 30), (10, 30), (10, 30), (10, 30), (10, 40)] == [(term.low, term.high) for term in limits]
    assert any(chosen(size, ratio=1.1).halvings > chosen(size).halvings for size in sizes)
    assert all(chosen(size, ratio=0.5).halvings == 0 for size in sizes)


def test_host_memory_is_looked_at_beside_the_card() -> None:
    terms = chosen(80).terms
    host = total(terms, host=True)

    assert 0 == lacks(terms, Room("cuda", 80 * 10**9, host.high), "high")
    assert 1 == lacks(terms, Room("cuda", 80 * 10**9, host.high - 1), "high")
    assert total(terms).expected - 5 == lacks(terms, Room("cpu", 5, 5), "expected")
    scarce = choose(QWEN, Settings(), Room("cuda", 80 * 10**9, 0), lambda times: capacity(Settings(), times))
    assert (False, 0) == (scarce.checkpointing, scarce.halvings)  # smaller parts would not mend that


def test_a_peak_is_compared_with_what_it_can_see() -> None:
    terms = chosen(80).terms
    runtime = next(term.expected for term in terms if term.name == "runtime")

    assert total(terms).expected == on_device(terms, "cpu").expected
    assert total(terms, host=False).expected - runtime == on_device(terms, "cuda").expected
