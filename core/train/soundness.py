"""Soundness: a bit that flips between two steps can leave numbers that are none, and no step shows it."""

import math

import torch

from core.train import moments
from core.train.memory import Memory
from events.heartbeat import moved


def unsound(memory: Memory) -> str | None:
    """The name of a weight or moment that holds NaN or Inf; None: all numbers are finite."""
    network = memory.model.network
    parameters: dict[str, torch.Tensor] = dict(network.named_parameters())
    every = {**parameters, **moments.read(network, memory.optimizer)}
    for name, tensor in every.items():
        moved()
        if tensor.numel() and not all(math.isfinite(end) for end in torch.aminmax(tensor.detach())):
            return name  # aminmax gives NaN where there is one, and needs no memory of its own
    return None
