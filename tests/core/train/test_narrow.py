"""The last layer's MLP at the positions that are read: the same losses and gradients, fewer rows."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from core.train import packed
from core.train.attention import DOCUMENTS, register
from core.train.packed import Batch, PackedModel, batch_of
from tests.core.train.stand import VOCABULARY, tiny_network

COMMON: dict[str, Any] = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
WIDE = COMMON | {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
}  # fmt: skip


def gemma() -> Any:
    sizes = WIDE | {"num_key_value_heads": 2, "head_dim": 16, "attn_implementation": "eager"}
    return Gemma2ForCausalLM(Gemma2Config(**sizes))


def gpt2() -> Any:
    dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=2, **dropout, **COMMON))


def neox() -> Any:
    """Whose MLP stands beside the attention, not behind it."""
    return GPTNeoXForCausalLM(GPTNeoXConfig(**WIDE))


def experts() -> Any:
    return MixtralForCausalLM(MixtralConfig(**WIDE, num_key_value_heads=2, num_local_experts=2))


NETWORKS = [tiny_network, gemma, gpt2, neox, experts]


def batch(*, all_trained: bool = False) -> Batch:
    """Three rows of which the tail is trained."""
    generator = np.random.default_rng(5)
    rows = [(generator.integers(2, VOCABULARY, n), np.arange(n)) for n in (30, 7, 19)]
    return batch_of([(ids, (at > (0 if all_trained else len(ids) // 2))) for ids, at in rows])


def model_of(network: Any) -> PackedModel:
    register()
    network.set_attn_implementation(DOCUMENTS)
    return PackedModel(network).train()


def read(model: PackedModel, given: Batch) -> tuple[float, Tensor]:
    """The loss, and its gradient over all parameters."""
    torch.manual_seed(2)  # of dropout
    model.zero_grad()
    loss = model(given)
    loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return float(loss.detach()), torch.cat([gradient.flatten() for gradient in gradients])


def seen(mlp: Any) -> list[int]:
    """How many positions the first product of this MLP is given, from now on."""
    found: list[int] = []
    first = next(part for part in mlp.modules() if not list(part.children()) and list(part.parameters()))
    first.register_forward_pre_hook(lambda _, given: found.append(given[0].shape[-2]))
    return found


@pytest.mark.parametrize("make", NETWORKS)
def test_losses_and_gradients_are_those_of_the_whole_layer(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    network = make()
    narrowed = read(model_of(copy.deepcopy(network)), batch())
    monkeypatch.setattr(packed, "narrow", lambda network: None)
    whole = read(model_of(network), batch())

    assert narrowed[0] == pytest.approx(whole[0], rel=1e-6)
    assert float((narrowed[1] - whole[1]).norm() / whole[1].norm()) <= 1e-6


def test_only_the_last_layer_looks_at_fewer_positions() -> None:
    model, given = model_of(tiny_network()), batch()
    layers = model.network.get_decoder().layers
    counts = [seen(layer.mlp) for layer in layers]
    model(given).backward()

    tokens = sum(given.lengths)
    assert len(given.targets) < 0.5 * tokens
    assert [*[[tokens]] * (len(layers) - 1), [len(given.targets)]] == counts


def test_experts_are_left_alone() -> None:
    model, given = model_of(experts()), batch()
    counts = seen(model.network.get_decoder().layers[-1].mlp)
    model(given).backward()

    assert [sum(given.lengths)] == counts


def test_recomputing_finds_the_positions_of_its_own_batch() -> None:
    torch.manual_seed(1)
    network = tiny_network()
    kept, again = model_of(copy.deepcopy(network)), model_of(network)
    again.network.activation_checkpointing_enable({"use_reentrant": False})
    one, other = batch(), batch(all_trained=True)
    for model in (kept, again):
        torch.manual_seed(2)
        losses = model(one), model(other)  # both forward, before either is computed again
        sum(losses).backward()

    for a, b in zip(kept.parameters(), again.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def test_the_network_itself_reads_rows_as_before_and_a_copy_is_narrow_once() -> None:
    torch.manual_seed(1)
    network = tiny_network().eval()
    ids = torch.arange(2, 14)[None]
    before = network(input_ids=ids).logits
    model = model_of(network)
    model(batch()).backward()
    model.eval()

    assert torch.equal(before, network(input_ids=ids).logits)
    again = copy.deepcopy(network)
    counts = seen(again.get_decoder().layers[-1].mlp)
    PackedModel(PackedModel(again).network)(batch())
    assert [len(batch().targets)] == counts
