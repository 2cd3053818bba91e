"""The estimate of activations against what models of each family really keep for their backward pass."""

from typing import Any

import numpy as np
import pytest
import torch
import transformers

from core.decide.memory import layer_bytes, parameters
from core.model.estimate import dimensions
from core.train import attention
from core.train.packed import PackedModel, batch_of

TOKENS, LAYERS = 512, 3
SIZES = {
    "vocab_size": 500, "hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": LAYERS,
    "num_attention_heads": 4, "max_position_embeddings": 1024, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
GROUPED = SIZES | {"num_key_value_heads": 2}
GPT2 = {
    "vocab_size": 500, "n_embd": 64, "n_layer": LAYERS, "n_head": 4, "n_positions": 1024, "resid_pdrop": 0.0,
    "embd_pdrop": 0.0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3": ("Qwen3", GROUPED | {"head_dim": 32, "tie_word_embeddings": True}),
    "qwen3 with a head of its own": ("Qwen3", GROUPED | {"head_dim": 32}),
    "qwen2 with biases": ("Qwen2", GROUPED),
    "llama without head_dim": ("Llama", GROUPED),
    "llama with as many keys as queries": ("Llama", SIZES),
    "smollm3": ("SmolLM3", GROUPED),
    "gemma2": ("Gemma2", GROUPED | {"head_dim": 32}),
    "phi3": ("Phi3", GROUPED),
    "olmo2": ("Olmo2", GROUPED),
    "gpt-neox": ("GPTNeoX", SIZES),
    "gpt2": ("GPT2", GPT2 | {"attn_pdrop": 0.0}),
}
SUFFIX = {"GPT2": "LMHeadModel"}


def made(kind: str, settings: dict[str, Any]) -> tuple[Any, Any]:
    """Config, and network of random weights."""
    config = getattr(transformers, f"{kind}Config")(**settings)
    return config, getattr(transformers, kind + SUFFIX.get(kind, "ForCausalLM"))(config).train()


def sizes_of(network: Any) -> dict[str, int]:
    return {name: parameter.numel() for name, parameter in network.named_parameters()}


def kept(model: PackedModel) -> int:
    """Bytes that the layers keep for the backward pass, each memory once, without parameters and copies."""
    known = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    shapes = {tuple(parameter.shape) for parameter in model.parameters() if parameter.ndim == 2}
    found: dict[int, int] = {}
    alive = []  # so that no memory is used twice

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        memory = tensor.untyped_storage()
        a_copy = tuple(tensor.shape) in shapes or tuple(tensor.shape[::-1]) in shapes
        if memory.data_ptr() not in known and not (a_copy and tensor.dtype != model.dtype):
            found[memory.data_ptr()] = memory.nbytes()
            alive.append(tensor)
        return tensor

    rows = np.random.default_rng(2).integers(0, 500, TOKENS)
    batch = batch_of([(row, np.arange(len(row)) > 0) for row in np.split(rows, [200, 300, 470])])
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.hidden(batch, model.embed(batch))
    return sum(found.values())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("half", [False, True], ids=["fp32", "bf16"])
def test_activations_of_a_family_are_those_that_it_keeps(family: str, half: bool) -> None:
    attention.register()
    config, network = made(*FAMILIES[family])
    network.set_attn_implementation(attention.DOCUMENTS)
    found = dimensions(config, sizes_of(network))
    told = LAYERS * TOKENS * layer_bytes(found, 4, 2 if half else 4)

    assert found.known
    assert told == pytest.approx(kept(PackedModel(network, torch.bfloat16 if half else None)), rel=0.2)


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_of_a_family_are_counted(family: str) -> None:
    config, network = made(*FAMILIES[family])
    found = dimensions(config, sizes_of(network))

    assert parameters(found) == sum(parameter.numel() for parameter in network.parameters())
    assert found.tied is (network.get_output_embeddings().weight is network.get_input_embeddings().weight)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("GPT2", GPT2),  # with dropout within attention, every weight of it is kept
        ("Mixtral", GROUPED | {"num_local_experts": 2}),
        ("Mamba", {"vocab_size": 500, "hidden_size": 64, "num_hidden_layers": 2, "pad_token_id": 0}),
    ],
)
def test_a_family_that_is_not_known_says_so_and_is_counted_all_the_same(
    kind: str, settings: dict[str, Any]
) -> None:
    config = getattr(transformers, f"{kind}Config")(**settings)
    with torch.device("meta"):
        network = getattr(transformers, kind + SUFFIX.get(kind, "ForCausalLM"))(config)
    if kind == "Mamba":
        with pytest.raises(AttributeError, match="num_attention_heads"):
            dimensions(config, sizes_of(network))
        return
    found = dimensions(config, sizes_of(network))

    assert not found.known
    assert parameters(found) == sum(parameter.numel() for parameter in network.parameters())
