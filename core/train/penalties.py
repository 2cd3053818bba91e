"""Logit penalties: tokens made likelier before the loss, so that the model learns to hold them down.

A penalised text is a token sequence. At every trained position the token that would start it, or continue
what of it stands there already, gets its weight added to its logit, except where the data really has it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from core.intake.template import Renderer
from core.settings import Settings
from core.train.losses import Bias
from core.train.packed import Batch


@dataclass(frozen=True, slots=True)
class Penalised:
    """A token sequence that must not be written, and how much its next token is made likelier."""

    ids: tuple[int, ...]
    weight: float


def penalised(settings: Settings, base: Path) -> tuple[Penalised, ...]:
    """The penalties of the settings, by the tokens of the base model in this folder."""
    if not settings.logit_penalties:
        return ()
    renderer = Renderer(base)
    return tuple(Penalised(renderer.pieces(p.text), p.weight) for p in settings.logit_penalties)


def biased(batch: Batch, penalties: Sequence[Penalised]) -> Batch:
    """The batch (on the CPU) with the bias of these penalties; progress never crosses a row's border."""
    ids, places = batch.input_ids[0].numpy(), batch.position_ids[0].numpy()
    predictors, targets = batch.predictors.numpy(), batch.targets.numpy()
    weights: dict[int, NDArray[np.float32]] = {}        # token → weight at each target
    for penalty in penalties:
        for token, due in _due(ids, places, penalty.ids).items():
            at_targets = weights.setdefault(token, np.zeros(len(targets), np.float32))
            at_targets += np.float32(penalty.weight) * (due[predictors] & (targets != token))
    tokens = np.array(sorted(weights), np.int64)
    table = np.stack([weights[token] for token in tokens.tolist()], axis=1)
    rows, columns = np.nonzero(table)                   # in order of the targets
    return batch.with_bias(
        Bias(
            torch.from_numpy(rows),
            torch.from_numpy(tokens[columns]),
            torch.from_numpy(table[rows, columns]),
            np.searchsorted(rows, np.arange(len(targets) + 1)),
        )
    )


def _due(
    ids: NDArray[np.int64], places: NDArray[np.int64], sequence: tuple[int, ...]
) -> dict[int, NDArray[np.bool_]]:
    """Token of the sequence → at which tokens of the batch it would come next. The first would everywhere."""
    due: dict[int, NDArray[np.bool_]] = {}
    matched = np.ones(len(ids), np.bool_)               # the sequence's first `n` tokens end here
    for n, token in enumerate(sequence):
        due[token] = due.get(token, np.zeros(len(ids), np.bool_)) | matched
        before = np.concatenate([[n == 0], matched[:-1]])
        matched = before & (ids == token) & (places >= n)
    return due
