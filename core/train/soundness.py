"""Soundness: a bit that flips between two steps can leave numbers that are none, and no step shows it."""

import math
from collections.abc import Iterator

import torch

from core.train import moments
from core.train.memory import Memory
from events.heartbeat import moved


def flaws(memory: Memory) -> Iterator[str]:
    """The names of the weights and moments that hold NaN or Inf."""
    network = memory.model.network
    parameters: dict[str, torch.Tensor] = dict(network.named_parameters())
    every = {**parameters, **moments.read(network, memory.optimizer)}
    for name, tensor in every.items():
        moved()
        if tensor.numel() and not all(math.isfinite(end) for end in torch.aminmax(tensor.detach())):
            yield name  # aminmax gives NaN where there is one, and needs no memory of its own


def unsound(memory: Memory) -> str | None:
    """The first of them that the base model did not have from its beginning; None: all is well."""
    return next((name for name in flaws(memory) if name not in memory.flaws), None)
