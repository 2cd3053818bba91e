"""Attention that keeps packed rows apart: a token sees its own row, up to itself, and nothing else.

Packed rows lie one after the other in one flat sequence [1, T] with positions that restart at each row. A
leak between rows trains a model on what it should not see and shows in no loss curve, so every process
compares packed rows with the same rows one at a time before it trains, and takes the first way that agrees.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from core.train.packed import Batch, PackedModel, batch_of
from core.train.refusals import PackingUnsafe

DOCUMENTS = "evertrain_documents"
VARLEN = "evertrain_varlen"
STOCK = "sdpa"  # transformers finds restarting positions and builds the block-diagonal mask: T × T bits


class Difference(NamedTuple):
    """Packed rows against the same rows one at a time."""

    loss: float  # largest difference of a row's mean loss, nats per token
    gradient: float  # of the input embeddings' gradient: norm of the difference / norm


def attend_documents(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    documents: tuple[int, ...] | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """One causal attention per row: query [1, heads, T, d], key, value alike → [1, T, heads, d].

    Of `sliding_window` keys a query sees the last, itself among them.
    """
    lengths = list(documents or (query.shape[2],))
    parts = []
    rows = (torch.split(part, lengths, 2) for part in (query, key, value))
    for q, k, v in zip(*rows, strict=True):
        band = _band(q.shape[2], sliding_window, q.device)
        parts.append(
            nn.functional.scaled_dot_product_attention(
                q,
                k,
                v,
                attn_mask=band,
                dropout_p=dropout,
                scale=scaling,
                is_causal=band is None,
                enable_gqa=query.shape[1] != key.shape[1],
            ).transpose(1, 2)
        )
    return torch.cat(parts, 1), None


def _band(length: int, sliding_window: int | None, device: torch.device) -> Tensor | None:
    """Which keys each query sees, bool[length, length]; None where that is all up to itself."""
    if sliding_window is None or length <= sliding_window:
        return None
    return torch.ones(length, length, dtype=torch.bool, device=device).tril().triu(1 - sliding_window)


def attend_varlen(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    documents: tuple[int, ...] | None = None,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """The same in one kernel call over all rows: CUDA, half precision; it knows no attention dropout."""
    from torch.nn.attention.varlen import varlen_attn

    lengths = documents or (query.shape[2],)
    ends = torch.tensor([0, *lengths], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    borders = ends.pin_memory().to(query.device, non_blocking=True)
    half = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else value.dtype
    q, k, v = (part[0].transpose(0, 1).to(half).contiguous() for part in (query, key, value))
    out: Any = varlen_attn(
        q,
        k,
        v,
        borders,
        borders,
        max(lengths),
        max(lengths),
        scale=scaling,
        window_size=(-1 if sliding_window is None else sliding_window - 1, 0),
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return out.unsqueeze(0), None


WAYS: dict[str, Callable[..., tuple[Tensor, None]]] = {DOCUMENTS: attend_documents, VARLEN: attend_varlen}


def register() -> None:
    """Make our ways known to transformers, which builds no mask for a name without a mask function."""
    from transformers import AttentionInterface

    for name, way in WAYS.items():
        AttentionInterface.register(name, way)


def choose(model: PackedModel) -> str:
    """The first way of attention that passes the self-test on this model and device; it is left switched on.

    Raises PackingUnsafe when none does.
    """
    register()
    half = model.autocast_dtype in (torch.bfloat16, torch.float16) or model.dtype != torch.float32
    dropout = getattr(model.network.config, "attention_dropout", 0.0)
    ways = [VARLEN] if model.device.type == "cuda" and half and not dropout else []
    found: dict[str, Difference | str] = {}
    for way in [*ways, DOCUMENTS, STOCK]:
        model.network.set_attn_implementation(way)
        try:
            found[way] = self_test(model)
        except (RuntimeError, ValueError) as error:  # a kernel that this device or attention does not have
            found[way] = f"{type(error).__name__}: {error}"
            continue
        if is_safe(found[way], half=half):
            return way
    raise PackingUnsafe(
        f"packed rows of {type(model.network).__name__} differ from single ones ({found}): this model's "
        "attention cannot be kept apart here; use another base model, or another version of torch or "
        "transformers"
    )


def is_safe(difference: Difference | str, *, half: bool) -> bool:
    """Is the difference rounding and nothing else? A leak differs by tenths (NaN is never safe).

    Rounding grows with depth and with what was learned: SmolLM2-135M, of thirty layers, in fp32, differs by
    1e-5 in loss and 2e-5 in gradient; with a leak by 1.5 and 1.0.
    """
    if isinstance(difference, str):
        return False
    loss, gradient = (2e-2, 5e-2) if half else (1e-3, 1e-3)
    return difference.loss <= loss and difference.gradient <= gradient


def self_test(model: PackedModel, lengths: Sequence[int] = (5, 17, 2, 33, 9)) -> Difference:
    """Random rows packed and read by our path, against each alone through the model's own forward."""
    generator = torch.Generator().manual_seed(20)
    vocabulary = model.head.shape[0]
    rows = [torch.randint(0, vocabulary, (length,), generator=generator) for length in lengths]
    was_training, way = model.training, model.network.config._attn_implementation
    model.eval()
    try:
        batch = batch_of([(row.numpy(), (torch.arange(len(row)) > 0).numpy()) for row in rows]).to(
            model.device
        )
        packed_losses, packed_gradient = _packed(model, batch, lengths)
        model.network.set_attn_implementation(STOCK)
        alone = [_alone(model, row.to(model.device)) for row in rows]
    finally:
        model.network.set_attn_implementation(way)
        model.train(was_training)
    losses = torch.stack([loss for loss, _ in alone])
    gradient = torch.cat([part for _, part in alone])
    return Difference(
        float((packed_losses - losses).abs().max()),
        float((packed_gradient - gradient).norm() / gradient.norm()),
    )


def _packed(model: PackedModel, batch: Batch, lengths: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Mean loss of each row; the gradient of all losses' sum at the input embeddings [T, hidden]."""
    embedded = model.embed(batch).detach().requires_grad_()
    total = model.loss_sum(batch, embedded)
    (gradient,) = torch.autograd.grad(total, embedded)
    # each row's own loss: the same hidden states with one row's targets at a time
    counts = [length - 1 for length in lengths]
    with torch.no_grad():
        hidden = model.hidden(batch, embedded)
        means = [
            model.loss_at(part, goal) / len(goal)
            for part, goal in zip(
                torch.split(hidden, counts), torch.split(batch.targets, counts), strict=True
            )
        ]
    return torch.stack(means).float(), gradient[0].float()


def _alone(model: PackedModel, row: Tensor) -> tuple[Tensor, Tensor]:
    embedded = model.network.get_input_embeddings()(row[None]).detach().requires_grad_()
    with model.autocast():
        logits = model.network(inputs_embeds=embedded, use_cache=False).logits
    total = nn.functional.cross_entropy(logits[0, :-1].float(), row[1:], reduction="sum")
    (gradient,) = torch.autograd.grad(total, embedded)
    return (total.detach() / (len(row) - 1)).float(), gradient[0].float()
