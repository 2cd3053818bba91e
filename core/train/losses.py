"""The loss: cross-entropy at trained positions only, in chunks, so the full logits never exist.

The gradient of a chunk's logits is formed where the logits are, in the forward pass: three matrix products
instead of the four of recomputing them in the backward pass, and never more than one chunk of logits in
memory. The idea is that of Liger Kernel's fused linear cross-entropy (Hsu et al. 2024) and Apple's cut
cross-entropy (Wijmans et al. 2024), here in plain torch.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from core.decide.memory import chunk_rows


@dataclass(frozen=True, slots=True, eq=False)
class Bias:
    """What is added to single logits: K entries over N targets, in order of the targets, none twice."""

    rows: Tensor  # int64[K]: which target
    tokens: Tensor  # int64[K]
    weights: Tensor  # float32[K]
    offsets: NDArray[np.int64]  # int64[N + 1]: the entries of target n are offsets[n] … offsets[n + 1]

    @property
    def positions(self) -> int:
        """Targets at which anything is added."""
        return int(np.count_nonzero(np.diff(self.offsets)))

    def to(self, device: torch.device) -> "Bias":
        return Bias(self.rows.to(device), self.tokens.to(device), self.weights.to(device), self.offsets)


class Losses(NamedTuple):
    """Sums over the targets: float32 scalars; only `objective` has a gradient."""

    objective: Tensor  # cross-entropy of the biased logits, in nats
    plain: Tensor  # cross-entropy without the bias
    mass: Tensor  # probability, without the bias, of the tokens it is added to


class _SummedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor, bias: Bias | None, with_gradient: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        size = chunk_rows(head.shape[0])
        total, plain, mass = (torch.zeros((), dtype=torch.float32, device=hidden.device) for _ in range(3))
        weight = head.to(hidden.dtype)  # once for all chunks
        # one piece of memory for the logits of every chunk
        product = hidden.new_empty(min(size, len(targets)), len(weight))
        if with_gradient:
            ctx.hidden_gradient = torch.empty_like(hidden)
            ctx.head_gradient = torch.zeros_like(head)
        for first in range(0, len(targets), size):
            chunk, goal = hidden[first : first + size], targets[first : first + size]
            place = product[: len(goal)]
            logits = torch.mm(chunk, weight.T, out=place).float()  # in fp32 the very same memory
            at_goal = logits.gather(1, goal[:, None])[:, 0]
            if bias is not None:
                normal = torch.logsumexp(logits, -1)
                plain += (normal - at_goal).sum()
                part = slice(int(bias.offsets[first]), int(bias.offsets[first + len(goal)]))
                rows, tokens = bias.rows[part] - first, bias.tokens[part]
                mass += (logits[rows, tokens] - normal[rows]).exp().sum()
                logits[rows, tokens] += bias.weights[part]
                # never at the goal itself: at_goal stays what it is
            highest = logits.amax(-1)
            # from here on in the memory of the logits: exp(logit - highest)
            sums = logits.sub_(highest[:, None]).exp_().sum(-1)
            total += (highest + sums.log() - at_goal).sum()
            if not with_gradient:
                continue
            # d loss / d logits = softmax - one-hot = (exp - sums * one-hot) / sums: the division is left to
            # the narrow factors of both products
            logits[torch.arange(len(goal), device=goal.device), goal] -= sums
            slope = place.copy_(logits)
            torch.mm(slope, weight, out=ctx.hidden_gradient[first : first + size]).div_(sums[:, None])
            scaled = (chunk / sums[:, None]).to(slope.dtype)
            if head.dtype == slope.dtype:
                ctx.head_gradient.addmm_(slope.T, scaled)
            else:
                ctx.head_gradient += slope.T @ scaled
        ctx.mark_non_differentiable(plain, mass)
        return total, plain, mass

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, scale: Tensor, *_: Any) -> tuple[Tensor, Tensor, None, None, None]:
        # scaled in place: these buffers are used once
        hidden_gradient, head_gradient = ctx.hidden_gradient, ctx.head_gradient
        del ctx.hidden_gradient, ctx.head_gradient
        return hidden_gradient.mul_(scale), head_gradient.mul_(scale), None, None, None


def summed_cross_entropy(hidden: Tensor, head: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy in nats, summed over the targets: a float32 scalar.

    `hidden` [N, width], the states that predict; `head` [vocabulary, width], fp32 or the type of `hidden`;
    `targets` int64[N]. Without gradient (validation) the same sums are formed and nothing else. Backward once
    only.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        total, _, _ = _SummedCrossEntropy.apply(  # type: ignore[no-untyped-call]
            hidden, head, targets, None, torch.is_grad_enabled()
        )
    return total  # type: ignore[no-any-return]


def biased_cross_entropy(hidden: Tensor, head: Tensor, targets: Tensor, bias: Bias) -> Losses:
    """As `summed_cross_entropy` after the bias was added to the logits; what it was without it as well."""
    with torch.autocast(hidden.device.type, enabled=False):
        return Losses(
            *_SummedCrossEntropy.apply(  # type: ignore[no-untyped-call]
                hidden, head, targets, bias, torch.is_grad_enabled()
            )
        )
