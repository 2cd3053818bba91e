"""Rows that are never trained (a file's hold-out, the fixed set), measured by the very path that trains."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from core.decide.batches import Layout, Rows, distinct, halves, pack
from core.settings import Settings
from core.train.packed import Batch, PackedModel, Tokens, read_batch


class Holdout:
    """Rows of a token store, packed like the training rows: measuring needs no more memory."""

    def __init__(
        self, store: Tokens, rows: Rows, *, max_length: int, batch_size: int, halvings: int = 0
    ) -> None:
        self.rows = len(rows)
        self._store = store
        lengths = np.diff(store.offsets).astype(np.int64)
        self._windows = [
            part
            for window in pack(rows, lengths, max_length * batch_size)
            for part in halves(np.array(window), lengths, halvings)
        ]
        spans = ((int(store.offsets[row]), int(store.offsets[row + 1])) for row in rows)
        # targets in all rows: what the loss is a mean over
        self.trained_tokens = sum(int(store.labels[begin:end].sum()) for begin, end in spans)

    def batches(self) -> Iterator[Batch]:
        return (read_batch(self._store, window) for window in self._windows)

    def measure(self, model: PackedModel, *, give_up: Callable[[], bool]) -> float | None:
        """Loss in nats per trained token; None when told to give up, which is asked before each batch.

        Draws nothing random and leaves the model in the mode it was in.
        """
        was_training, total, trained = model.training, 0.0, 0
        model.eval()
        try:
            with torch.no_grad():
                for batch in self.batches():
                    if give_up():
                        return None
                    total += float(model(batch.to(model.device)))
                    trained += len(batch.targets)
        finally:
            model.train(was_training)
        return total / trained


@dataclass(frozen=True, slots=True)
class Measured:
    """What one evaluation of one set found."""

    kind: str  # "holdout" or "fixed"
    loss: float  # nats per trained token
    trained_tokens: int
    rows: int
    seconds: float


def sets_of(store: Tokens, layout: Layout, fixed: Tokens | None, settings: Settings) -> dict[str, Holdout]:
    """What a run measures, by kind: its hold-out, and all of the fixed set, one row of each content."""
    parts = {"holdout": (store, layout.holdout_rows)}
    if fixed is not None:
        parts["fixed"] = (fixed, distinct(fixed.hashes, np.ones(len(fixed.hashes), dtype=np.bool_)))
    return {
        kind: Holdout(
            tokens,
            rows,
            max_length=settings.max_length,
            batch_size=settings.batch_size,
            halvings=layout.halvings,
        )
        for kind, (tokens, rows) in parts.items()
        if len(rows)
    }


def measure(
    sets: Mapping[str, Holdout], model: PackedModel, *, give_up: Callable[[], bool]
) -> list[Measured] | None:
    """Every set, or None when told to give up: half of an evaluation is none."""
    found = []
    for kind, rows in sets.items():
        began = time.monotonic()
        loss = rows.measure(model, give_up=give_up)
        if loss is None:
            return None
        found.append(Measured(kind, loss, rows.trained_tokens, rows.rows, time.monotonic() - began))
    return found
