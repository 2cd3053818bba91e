"""The loss: cross-entropy at trained positions only, in chunks, so the full logits never exist.

The gradient of a chunk's logits is formed where the logits are, in the forward pass: three matrix products
instead of the four of recomputing them in the backward pass, and never more than one chunk of logits in
memory. The idea is that of Liger Kernel's fused linear cross-entropy (Hsu et al. 2024) and Apple's cut
cross-entropy (Wijmans et al. 2024), here in plain torch.
"""

from typing import Any

import torch
from torch import Tensor

CHUNK_LOGITS = 1 << 24  # logits formed at a time: 64 MiB of fp32


class _SummedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, with_gradient: bool) -> Tensor:
        size = max(64, min(1024, CHUNK_LOGITS // head.shape[0]))
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        weight = head.to(hidden.dtype)  # once for all chunks
        if with_gradient:
            ctx.hidden_gradient = torch.empty_like(hidden)
            ctx.head_gradient = torch.zeros_like(head)
        for first in range(0, len(targets), size):
            chunk, goal = hidden[first : first + size], targets[first : first + size]
            logits = (chunk @ weight.T).float()
            highest = torch.logsumexp(logits, -1)
            total += (highest - logits.gather(1, goal[:, None])[:, 0]).sum()
            if not with_gradient:
                continue
            # d loss / d logits = softmax - one-hot, in the memory of the logits
            logits.sub_(highest[:, None]).exp_()
            logits[torch.arange(len(goal), device=goal.device), goal] -= 1
            slope = logits.to(weight.dtype)
            ctx.hidden_gradient[first : first + size] = slope @ weight
            if head.dtype == slope.dtype:
                ctx.head_gradient.addmm_(slope.T, chunk)
            else:
                ctx.head_gradient += slope.T @ chunk
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor, Tensor, None, None]:
        # scaled in place: these buffers are used once
        hidden_gradient, head_gradient = ctx.hidden_gradient, ctx.head_gradient
        del ctx.hidden_gradient, ctx.head_gradient
        return hidden_gradient.mul_(scale), head_gradient.mul_(scale), None, None


def summed_cross_entropy(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats, summed over the targets: a float32 scalar.

    `hidden` [N, width], the states that predict; `head` [vocabulary, width], fp32 or the type of `hidden`;
    `targets` int64[N]. Without gradient (validation) the same sums are formed and nothing else. Backward once
    only.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        total: Tensor = _SummedCrossEntropy.apply(  # type: ignore[no-untyped-call]
            hidden, head, targets, torch.is_grad_enabled()
        )
    return total
