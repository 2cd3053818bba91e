"""Attention: packed rows are trained exactly as they would be alone, and a leak is caught."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AttentionInterface

from core.train.attention import (
    DOCUMENTS,
    STOCK,
    WAYS,
    attend_documents,
    choose,
    is_safe,
    self_test,
)
from core.train.packed import PackedModel, batch_of
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


def gradients(model: PackedModel, *batches: Any) -> tuple[list[float], Tensor]:
    """Loss sum of each batch, and the gradient of all of them over all parameters."""
    model.zero_grad()
    losses = [model(batch) for batch in batches]
    torch.stack(losses).sum().backward()
    return [float(loss.detach()) for loss in losses], torch.cat(
        [p.grad.flatten() for p in model.parameters()]
    )


@pytest.mark.parametrize("way", [DOCUMENTS, STOCK])
def test_packed_rows_have_the_loss_and_gradient_of_single_rows(model: PackedModel, way: str) -> None:
    model.network.set_attn_implementation(way)
    targets = sum(int(labels.sum()) for _, labels in ROWS)
    (packed,), packed_gradient = gradients(model, batch_of(ROWS))
    alone, gradient = gradients(model, *(batch_of([row]) for row in ROWS))

    assert pytest.approx(sum(alone) / targets, abs=1e-5) == packed / targets
    assert float((packed_gradient - gradient).norm() / gradient.norm()) < 1e-6


def test_a_planted_leak_fails_the_same_comparison(model: PackedModel) -> None:
    AttentionInterface.register("leak", attend_across)
    model.network.set_attn_implementation("leak")
    _, packed_gradient = gradients(model, batch_of(ROWS))
    _, gradient = gradients(model, *(batch_of([row]) for row in ROWS))

    assert float((packed_gradient - gradient).norm() / gradient.norm()) > 1e-2
    assert not is_safe(self_test(model), half=False)
    assert not is_safe(self_test(model), half=True)


def test_the_self_test_passes_ours_and_leaves_the_model_as_it_was(model: PackedModel) -> None:
    model.train()
    difference = self_test(model)

    assert is_safe(difference, half=False)
    assert model.training
    assert DOCUMENTS == model.network.config._attn_implementation
    assert all(parameter.grad is None for parameter in model.parameters())


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
