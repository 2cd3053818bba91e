"""The steps of a run, made from its plan: one way to them, for training and for training again."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.decide import halving, training
from core.decide.batches import Plan, Step, digests
from core.settings import Settings
from core.train.memory import UNKNOWN, Memory
from core.train.packed import Batch, Tokens, read_batch
from core.train.penalties import Penalised, biased
from core.train.shortage import Shortage
from core.train.trainer import Figures, StepTrainer, Work

#: Hears of a step that did not fit: what, halvings from now on, tokens of its largest one before and after.
Halved = Callable[[Shortage, int, int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Rows, order and settings: all that a step follows from, but for the model."""

    store: Tokens
    plan: Plan
    settings: Settings
    penalties: tuple[Penalised, ...] = ()
    decays: bool = False  # with `wsd`
    halvings: dict[int, int] = field(default_factory=dict)  # first step → times its micro-batches are halved

    def train(
        self,
        memory: Memory,
        *,
        done: int,
        global_step: int,
        folder: Path,
        after_step: Callable[[Figures], bool],
        moved: Callable[[], None] = lambda: None,
        halved: Halved | None = None,
    ) -> None:
        """Train what comes after step `done` (`global_step` for ever), until `after_step` says no or it ends.

        `folder` is for what libraries might write; `moved` as in StepTrainer. With `halved`, which is told,
        micro-batches that do not fit into memory become smaller; without, that is an error. Raises NonFinite,
        DoesNotFit.
        """

        def halve(work: Work, shortage: Shortage) -> Work:
            assert halved is not None
            return self._halve(work, shortage, halved)

        StepTrainer(
            memory.model,
            memory.optimizer,
            self._works(memory, done, global_step - done),
            self.plan.steps_planned - done,
            seed=self.settings.seed,
            folder=folder,
            after_step=after_step,
            moved=moved,
            halve=None if halved is None else halve,
        ).train()

    def _works(self, memory: Memory, done: int, ahead: int) -> Iterator[Work]:
        planned = self.plan.steps_planned
        for step, micro_batches in enumerate(self.plan.steps(done + 1), done + 1):
            rows = np.concatenate(micro_batches)
            memory.holds = UNKNOWN  # from the moment a step is made, it may be trained
            yield Work(
                step,
                step + ahead,
                training.learning_rate(self.settings, step, planned, step + ahead, decays=self.decays),
                self._batches(micro_batches, halving.in_force(self.halvings, step)),
                len(rows),
                digests(self.store.hashes, rows),
            )

    def _halve(self, work: Work, shortage: Shortage, tell: Halved) -> Work:
        """The step's rows in micro-batches of half the size, as all steps after it. Raises DoesNotFit."""
        times = halving.in_force(self.halvings, work.step) + 1
        if shortage.rows == 1 or times > halving.MOST:
            raise shortage.refusal()
        smaller = replace(work, batches=self._batches(self.plan.step(work.step), times))
        before, after = (max(sum(batch.lengths) for batch in each.batches) for each in (work, smaller))
        tell(shortage, times, before, after)
        self.halvings[work.step] = times
        return smaller

    def _batches(self, micro_batches: Step, times: int) -> tuple[Batch, ...]:
        lengths = np.diff(self.store.offsets).astype(np.int64) if times else np.zeros(0, np.int64)
        return tuple(self._read(rows) for rows in halving.halved(micro_batches, lengths, times))

    def _read(self, rows: NDArray[np.int64]) -> Batch:
        batch = read_batch(self.store, rows)
        return biased(batch, self.penalties) if self.penalties else batch
