"""Attention: packed rows are trained exactly as they would be alone, and a leak is caught."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from core.decide.batches import pack
from core.train.attention import (
    DOCUMENTS,
    STOCK,
    WAYS,
    attend_documents,
    choose,
    is_safe,
    register,
    self_test,
)
from core.train.packed import Batch, PackedModel, batch_of
from core.train.refusals import PackingUnsafe
from tests.core.train.stand import VOCABULARY, tiny_network

ROWS = [
    (
        np.random.default_rng(length).integers(0, VOCABULARY, length),
        (np.arange(length) % 3 > 0).astype(np.uint8),
    )
    for length in (3, 40, 17, 2, 40, 9)
]


def attend_across(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **more: Any) -> Any:
    """The planted leak: one running causal attention over all rows."""
    return attend_documents(module, query, key, value, mask, **{**more, "documents": None})


@pytest.fixture
def model() -> PackedModel:
    made = PackedModel(tiny_network())
    choose(made)
    return made.eval()


def sliding_network() -> Any:
    """Of which every layer sees seven tokens back: fewer than most rows have."""
    whole = tiny_network().config.to_dict()
    kinds = ["sliding_attention"] * whole["num_hidden_layers"]
    config = {**whole, "use_sliding_window": True, "sliding_window": 8, "layer_types": kinds}
    torch.manual_seed(0)
    return Qwen3ForCausalLM(Qwen3Config(**config))


def read(model: PackedModel, *batches: Batch) -> tuple[Tensor, Tensor]:
    """Loss of every target in all batches, and the gradient of their sum over all parameters."""
    model.zero_grad()
    losses = []
    for batch in batches:
        model(batch).backward()
        with torch.no_grad():
            logits = model.hidden(batch, model.embed(batch)) @ model.head.T
        losses.append(torch.nn.functional.cross_entropy(logits, batch.targets, reduction="none"))
    return torch.cat(losses).detach(), torch.cat([p.grad.flatten() for p in model.parameters()])


def far(one: Tensor, other: Tensor) -> float:
    """Norm of the difference, of the norm."""
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("capacity", [40, 64, 1024])
@pytest.mark.parametrize("way", [DOCUMENTS, STOCK])
@pytest.mark.parametrize("network", [tiny_network, sliding_network])
def test_packed_rows_have_the_losses_and_gradient_of_single_rows(
    network: Callable[[], Any], way: str, capacity: int
) -> None:
    model = PackedModel(network()).eval()
    register()
    model.network.set_attn_implementation(way)
    lengths = np.array([len(ids) for ids, _ in ROWS])
    windows = pack(np.arange(len(ROWS)), lengths, capacity)
    packed, packed_gradient = read(model, *(batch_of([ROWS[n] for n in window]) for window in windows))
    model.network.set_attn_implementation(STOCK)  # a row alone by the model's own attention
    alone, gradient = read(model, *(batch_of([ROWS[n]]) for window in windows for n in window))

    assert float((packed - alone).abs().max()) <= 1e-5
    assert far(packed_gradient, gradient) <= 1e-6


def test_a_planted_leak_fails_the_same_comparison(model: PackedModel) -> None:
    AttentionInterface.register("leak", attend_across)
    model.network.set_attn_implementation("leak")
    packed, packed_gradient = read(model, batch_of(ROWS))
    alone, gradient = read(model, *(batch_of([row]) for row in ROWS))

    assert float((packed - alone).abs().max()) > 1e-2
    assert far(packed_gradient, gradient) > 1e-2
    assert not is_safe(self_test(model), half=False)
    assert not is_safe(self_test(model), half=True)


def test_the_self_test_passes_ours_and_leaves_the_model_as_it_was(model: PackedModel) -> None:
    model.train()
    difference = self_test(model)

    assert is_safe(difference, half=False)
    assert model.training
    assert DOCUMENTS == model.network.config._attn_implementation
    assert all(parameter.grad is None for parameter in model.parameters())


def deep_network() -> Any:
    """Of as many layers as real models have, with numbers as large: they round more than a tiny one's."""
    config = LlamaConfig(
        vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=30, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True, initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    network = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm" in name:
                parameter.mul_(4)
    return network


def test_the_rounding_of_a_deep_model_is_no_leak_and_a_leak_in_it_is_found() -> None:
    model = PackedModel(deep_network())

    assert DOCUMENTS == choose(model)
    found = self_test(model)
    assert 1e-5 < max(found)  # or this would be no deeper than the others
    AttentionInterface.register("leak", attend_across)
    model.network.set_attn_implementation("leak")
    assert not is_safe(self_test(model), half=False)
    assert not is_safe(self_test(model), half=True)


def test_a_leaking_way_is_passed_over_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WAYS, DOCUMENTS, attend_across)

    assert STOCK == choose(PackedModel(tiny_network()))
    monkeypatch.undo()
    assert DOCUMENTS == choose(PackedModel(tiny_network()))


def test_a_model_whose_rows_cannot_be_kept_apart_is_refused() -> None:
    network = tiny_network()
    # as a model with convolutions: neighbours mix outside the attention
    network.get_decoder().layers[0].mlp.register_forward_hook(lambda _, given, out: out + out.roll(1, 1))

    with pytest.raises(PackingUnsafe, match="use another base model"):
        choose(PackedModel(network))


def test_nan_is_never_safe(model: PackedModel) -> None:
    with torch.no_grad():
        model.head.fill_(float("nan"))

    assert not is_safe(self_test(model), half=True)


def test_autocast_to_half_precision_passes_its_own_tolerance() -> None:
    model = PackedModel(tiny_network(), torch.bfloat16)

    assert choose(model) in (DOCUMENTS, STOCK)
    assert {torch.float32} == {parameter.dtype for parameter in model.parameters()}


def test_a_row_whose_first_token_is_a_target_is_refused() -> None:
    with pytest.raises(ValueError, match="validate again"):
        batch_of([(np.array([1, 2]), np.array([1, 1]))])
