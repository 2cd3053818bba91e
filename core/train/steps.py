"""The steps of a run, made from its plan: one way to them, for training and for training again."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.decide import training
from core.decide.batches import Plan, digests
from core.settings import Settings
from core.train.memory import UNKNOWN, Memory
from core.train.packed import Batch, Tokens, read_batch
from core.train.penalties import Penalised, biased
from core.train.trainer import Figures, StepTrainer, Work


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Rows, order and settings: all that a step follows from, but for the model."""

    store: Tokens
    plan: Plan
    settings: Settings
    penalties: tuple[Penalised, ...] = ()

    def train(
        self,
        memory: Memory,
        *,
        done: int,
        global_step: int,
        folder: Path,
        after_step: Callable[[Figures], bool],
        moved: Callable[[], None] = lambda: None,
    ) -> None:
        """Train what comes after step `done` (`global_step` for ever), until `after_step` says no or it ends.

        `folder` is for what libraries might write. Raises NonFinite.
        """
        StepTrainer(
            memory.model,
            memory.optimizer,
            self._works(memory, done, global_step - done),
            self.plan.steps_planned - done,
            seed=self.settings.seed,
            folder=folder,
            after_step=after_step,
            moved=moved,
        ).train()

    def _works(self, memory: Memory, done: int, ahead: int) -> Iterator[Work]:
        planned = self.plan.steps_planned
        for step, micro_batches in enumerate(self.plan.steps(done + 1), done + 1):
            rows = np.concatenate(micro_batches)
            memory.holds = UNKNOWN  # from the moment a step is made, it may be trained
            yield Work(
                step,
                step + ahead,
                training.learning_rate(self.settings, step, planned, step + ahead),
                tuple(self._read(part) for part in micro_batches),
                len(rows),
                digests(self.store.hashes, rows),
            )

    def _read(self, rows: NDArray[np.int64]) -> Batch:
        batch = read_batch(self.store, rows)
        return biased(batch, self.penalties) if self.penalties else batch
