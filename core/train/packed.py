"""A model that reads packed rows: tokens in, summed loss out. Training and validation share this one path."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from core.train.losses import Bias, Losses, biased_cross_entropy, summed_cross_entropy
from core.train.narrow import narrow


class Tokens(Protocol):
    """What is needed of a token store: see core.intake.tokens."""

    @property
    def ids(self) -> NDArray[np.uint32]: ...
    @property
    def labels(self) -> NDArray[np.uint8]: ...
    @property
    def offsets(self) -> NDArray[np.uint64]: ...
    @property
    def hashes(self) -> NDArray[np.uint8]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Whole rows one after the other, without padding; T tokens of which N are targets."""

    input_ids: Tensor  # int64[1, T]
    position_ids: Tensor  # int64[1, T], restarting at every row
    predictors: Tensor  # int64[N]: where the state is that predicts a target
    targets: Tensor  # int64[N]
    lengths: tuple[int, ...]  # tokens of each row
    bias: Bias | None = None  # of logit penalties, over the targets

    def to(self, device: torch.device) -> "Batch":
        return replace(
            self,
            input_ids=self.input_ids.to(device),
            position_ids=self.position_ids.to(device),
            predictors=self.predictors.to(device),
            targets=self.targets.to(device),
            bias=None if self.bias is None else self.bias.to(device),
        )

    def with_bias(self, bias: Bias) -> "Batch":
        return replace(self, bias=bias)


def batch_of(rows: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> Batch:
    """Rows as (token ids, labels) into one batch. A label marks a target, predicted from the token before it.

    Raises ValueError for a row whose first token is a target: nothing of the same row could predict it.
    """
    if any(labels[0] for _, labels in rows):
        raise ValueError(
            "a row's first token is marked as a target; the token store is damaged: validate again"
        )
    ids = np.concatenate([ids for ids, _ in rows]).astype(np.int64)
    targets = np.flatnonzero(np.concatenate([labels for _, labels in rows]))
    return Batch(
        torch.from_numpy(ids)[None],
        torch.from_numpy(np.concatenate([np.arange(len(ids)) for ids, _ in rows]))[None],
        torch.from_numpy(targets - 1),
        torch.from_numpy(ids[targets]),
        tuple(len(ids) for ids, _ in rows),
    )


def read_batch(store: Tokens, rows: NDArray[np.int64]) -> Batch:
    """The rows with these numbers, from the token store."""
    spans = [slice(int(store.offsets[row]), int(store.offsets[row + 1])) for row in rows]
    return batch_of([(store.ids[span], store.labels[span]) for span in spans])


class PackedModel(nn.Module):
    """A causal language model of transformers behind one question: what is the summed loss of this batch?

    All parameters are used inside `forward`, loss included, so wrappers for several devices see whole steps.
    `autocast_dtype` None computes in the parameters' own type.
    """

    def __init__(self, network: Any, autocast_dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.network = network
        self.autocast_dtype = autocast_dtype
        narrow(network)

    @property
    def device(self) -> torch.device:
        return self.head.device

    @property
    def dtype(self) -> torch.dtype:
        return self.head.dtype

    @property
    def head(self) -> Tensor:
        """The output projection [vocabulary, width]; with tied embeddings the embedding itself."""
        head: Tensor = self.network.get_output_embeddings().weight
        return head

    def autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, self.autocast_dtype, enabled=self.autocast_dtype is not None)

    def embed(self, batch: Batch) -> Tensor:
        embedded: Tensor = self.network.get_input_embeddings()(batch.input_ids)
        return embedded

    def hidden(self, batch: Batch, embedded: Tensor) -> Tensor:
        """The states that predict the targets: [N, width]."""
        with self.autocast():
            states = self.network.get_decoder()(
                inputs_embeds=embedded,
                position_ids=batch.position_ids,
                use_cache=False,
                documents=batch.lengths,
                predictors=batch.predictors,
            ).last_hidden_state[0]
        chosen: Tensor = states.index_select(0, batch.predictors)
        return chosen

    def loss_at(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return summed_cross_entropy(hidden.to(self.autocast_dtype or hidden.dtype), self.head, targets)

    def loss_sum(self, batch: Batch, embedded: Tensor) -> Tensor:
        return self.loss_at(self.hidden(batch, embedded), batch.targets)

    def forward(self, batch: Batch) -> Tensor | Losses:
        """Cross-entropy in nats, summed over the batch's targets; `Losses` where the batch has a bias."""
        if batch.bias is None:
            return self.loss_sum(batch, self.embed(batch))
        hidden = self.hidden(batch, self.embed(batch))
        states = hidden.to(self.autocast_dtype or hidden.dtype)
        return biased_cross_entropy(states, self.head, batch.targets, batch.bias)
