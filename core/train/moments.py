"""The optimizer: AdamW of our own, kept across runs, with its moments known by parameter name.

betas (0.9, 0.95), as usual for language models: the second moment forgets after some 20 steps, so a new
file's gradients are not scaled by the old one's. Weight decay 0.01 on matrices alone, never on norms and
biases; small, because a model that is trained for ever would otherwise be decayed for ever.
"""

from typing import Any

import torch
from torch import Tensor, nn

from events.heartbeat import moved

BETAS = (0.9, 0.95)
EPSILON = 1e-8
WEIGHT_DECAY = 0.01
KINDS = ("exp_avg", "exp_avg_sq", "step")


def adamw(network: nn.Module) -> torch.optim.AdamW:
    """A fresh AdamW over all parameters; the learning rate is set before each step."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=0.0, betas=BETAS, eps=EPSILON, fused=True)


def read(network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The moments as `<kind>.<parameter>`; empty before the first step. The tensors are the live ones."""
    return {
        f"{kind}.{name}": optimizer.state[parameter][kind]
        for name, parameter in network.named_parameters()
        if parameter in optimizer.state
        for kind in KINDS
    }


def put(network: nn.Module, optimizer: torch.optim.Optimizer, stored: Any) -> None:
    """Copy stored moments into memory that torch allocated itself, so vector code sees the same alignment.

    `stored` is an open safetensors file; KeyError when a parameter's moments are missing in part.
    """
    names = set(stored.keys())
    parameters = dict(network.named_parameters())
    wanted = {f"{kind}.{name}" for name in parameters for kind in KINDS}
    if names and names != wanted:
        raise KeyError(f"moments of other parameters: {sorted(names ^ wanted)[:3]}")
    optimizer.state.clear()
    for name, parameter in parameters.items() if names else ():
        step = torch.zeros((), dtype=torch.float32, device=parameter.device)
        state = {
            "step": step,
            "exp_avg": torch.zeros_like(parameter.data),
            "exp_avg_sq": torch.zeros_like(parameter.data),
        }
        for kind, tensor in state.items():
            tensor.copy_(stored.get_tensor(f"{kind}.{name}"))
            moved()
        optimizer.state[parameter] = state
