"""Memory: what the model is built as, and that no setting changes which rows see each other."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.train import checkpoint
from core.train.attention import DOCUMENTS
from core.train.memory import UNKNOWN, build, restore
from core.train.packed import batch_of
from tests.core.train.stand import SETTINGS, VOCABULARY, Stand

BATCH = batch_of([(np.random.default_rng(n).integers(0, VOCABULARY, n), np.arange(n) > 0) for n in (9, 30)])


@pytest.mark.parametrize(
    ("precision", "stored", "computed"),
    [
        ("auto", "float32", None),
        ("fp32", "float32", None),
        ("bf16", "float32", torch.bfloat16),
        ("pure_bf16", "bfloat16", None),
    ],
)
def test_the_precision_asked_for_is_the_precision_of_every_parameter(
    base_folder: Path, precision: str, stored: str, computed: torch.dtype | None
) -> None:
    memory = build(base_folder, replace(SETTINGS, precision=precision))

    assert {stored} == memory.dtypes.keys()
    assert memory.dtypes[stored] == sum(parameter.numel() for parameter in memory.model.parameters())
    assert computed is memory.model.autocast_dtype
    assert DOCUMENTS == memory.attention
    assert None is memory.holds


@pytest.mark.parametrize("precision", ["fp32", "bf16", "pure_bf16"])
def test_every_precision_trains_and_comes_back(stand: Stand, base_folder: Path, precision: str) -> None:
    memory = build(base_folder, replace(SETTINGS, precision=precision))
    memory.optimizer.param_groups[0]["lr"] = 1e-2
    first = memory.model(BATCH)
    first.backward()
    memory.optimizer.step()
    checkpoint.write(stand.workspace.root / "checkpoint-1", memory.model.network, memory.optimizer, {})
    memory.model.eval()
    second = float(memory.model(BATCH).detach())
    again = build(base_folder, replace(SETTINGS, precision=precision))
    again.holds = UNKNOWN
    restore(again, stand.workspace.root, "checkpoint-1")

    assert second < float(first.detach())
    assert second == float(again.model.eval()(BATCH).detach())
    assert "checkpoint-1" == again.holds


def test_gradient_checkpointing_changes_neither_loss_nor_gradient(base_folder: Path) -> None:
    found = []
    for checkpointing in (False, True):
        model = build(base_folder, replace(SETTINGS, gradient_checkpointing=checkpointing)).model
        model.train()
        torch.manual_seed(1)
        loss = model(BATCH)
        loss.backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()])
        found.append((float(loss.detach()), gradient))

    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


def test_weights_lie_in_memory_that_torch_allocated(base_folder: Path) -> None:
    network = build(base_folder, SETTINGS).model.network

    # a safetensors file maps tensors at any multiple of their size; torch aligns to 64 bytes
    assert {0} == {parameter.data_ptr() % 64 for parameter in network.parameters()}
    assert network.get_output_embeddings().weight is network.get_input_embeddings().weight


def test_gradient_checkpointing_keeps_less_for_the_backward_pass(base_folder: Path) -> None:
    kept = []
    for checkpointing in (False, True):
        model = build(base_folder, replace(SETTINGS, gradient_checkpointing=checkpointing)).model
        model.train()
        sizes: list[int] = []

        def pack(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model(BATCH)
        kept.append(sum(sizes))

    assert kept[1] < kept[0] / 2
