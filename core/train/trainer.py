"""The training loop: transformers' Trainer, narrowed to our order of rows, our loss and our guards.

Trainer brings devices, accelerate and the optimizer's turn; it counts only the steps of one `train()` call.
Our step and global step come from the log. One item of its data loader is one whole optimizer step, so
nothing is read ahead and the position in a run is one integer. Everything that could be random is seeded from
(seed, global step) before each step: there is no generator state that a crash could lose.
"""

import hashlib
import math
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from core.decide.batches import seed_of
from core.decide.training import NON_FINITE_IN_A_ROW
from core.train.losses import Losses
from core.train.packed import Batch, PackedModel
from core.train.refusals import NonFinite

MAX_GRAD_NORM = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """One optimizer step to do."""

    step: int  # of the run, from 1
    global_step: int
    learning_rate: float
    batches: tuple[Batch, ...]  # micro-batches
    rows: int
    row_digest: int  # evidence of which rows: core.decide.batches.digests


@dataclass(frozen=True, slots=True)
class Figures:
    """What a step was like: the columns of `StepsCompleted`, and where it stood."""

    step: int
    global_step: int
    loss: float  # nats per trained token, plain cross-entropy
    grad_norm: float  # before clipping
    learning_rate: float
    tokens: int
    trained_tokens: int
    rows: int
    row_digest: int
    seconds: float  # wall, reading the rows included
    objective: float | None = None  # with logit penalties: the loss of the biased logits, what is trained
    penalty_mass: float | None = None  # mean probability of a penalised token, where one is penalised

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


def shortest(value: float) -> float:
    """The same float32 in as few digits as tell it apart: a log keeps years of them."""
    return float(str(np.float32(value)))


def seed_all(seed: int, global_step: int) -> None:
    """Every generator there is, as step `global_step` finds it."""
    mixed = seed_of(seed, global_step)
    random.seed(mixed)
    np.random.seed(mixed % 2**32)  # the global one: what libraries draw from
    # torch.manual_seed would queue work for every kind of device there might be, 1.5 ms each time
    torch.default_generator.manual_seed(mixed % 2**63)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(mixed % 2**63)


def generators_sha256() -> str:
    """SHA-256 of the state of torch's generators at this instant."""
    digest = hashlib.sha256(torch.get_rng_state().numpy().tobytes())
    if torch.cuda.is_available():
        for state in torch.cuda.get_rng_state_all():
            digest.update(state.numpy().tobytes())
    return digest.hexdigest()


class _Queue(Iterable[dict[str, Work]]):
    """The data loader: steps in order, each made when it is asked for. It has no length, on purpose."""

    def __init__(self, works: Iterator[Work]) -> None:
        self._works = works

    def __iter__(self) -> Iterator[dict[str, Work]]:
        return ({"work": work} for work in self._works)


class StepTrainer(Trainer):  # type: ignore[misc]
    """One run's steps. `after_step` hears the figures of each and says whether to go on.

    `moved` is called after each micro-batch: a step of many of them is no hang.
    """

    def __init__(
        self,
        model: PackedModel,
        optimizer: torch.optim.Optimizer,
        works: Iterator[Work],
        steps: int,
        *,
        seed: int,
        folder: Path,
        after_step: Callable[[Figures], bool],
        moved: Callable[[], None] = lambda: None,
    ) -> None:
        arguments = TrainingArguments(
            output_dir=str(folder),
            max_steps=steps,
            seed=seed % 2**32,
            use_cpu=model.device.type == "cpu",
            per_device_train_batch_size=1,
            gradient_accumulation_steps=1,
            max_grad_norm=0.0,
            report_to=[],
            logging_strategy="no",
            save_strategy="no",
            eval_strategy="no",
            disable_tqdm=True,
            logging_nan_inf_filter=False,
            dataloader_pin_memory=False,
            remove_unused_columns=False,
        )
        # several cards in one process would be wrapped in DataParallel; several devices mean several
        # processes
        arguments._n_gpu = min(1, arguments.n_gpu)
        constant = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)  # the rate is set by the step
        super().__init__(model=model, args=arguments, optimizers=(optimizer, constant))
        self.pop_callback(PrinterCallback)
        self.add_callback(_AfterStep(self, after_step))
        self._queue = _Queue(works)
        self._generator_seed = seed
        self._moved = moved
        self._began = time.perf_counter()
        self._non_finite = 0
        self.figures: Figures | None = None

    def get_train_dataloader(self) -> Any:
        return self._queue

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], None]:
        self._began = time.perf_counter()
        return [next(epoch_iterator)], None

    def training_step(
        self, model: Any, inputs: dict[str, Work], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """Forward and backward of a whole optimizer step; leaves no gradient where one is not finite."""
        work = inputs["work"]
        model.train()
        seed_all(self._generator_seed, work.global_step)
        for group in self.optimizer.param_groups:
            group["lr"] = work.learning_rate
        trained = sum(len(batch.targets) for batch in work.batches)
        total, objective, mass = torch.zeros(3, device=self.args.device).unbind()
        for number, batch in enumerate(work.batches, 1):
            whole = number == len(work.batches)
            with nullcontext() if whole else self.accelerator.no_sync(model=model):
                found = model(batch.to(self.args.device))
                sums = Losses(found, found, mass) if batch.bias is None else found
                loss = sums.objective / trained
                self.accelerator.backward(loss)
            objective += loss.detach()
            total += sums.plain.detach() / trained
            if batch.bias is not None:
                mass += sums.mass
            self._moved()
        norm = self.accelerator.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
        # the one wait for the device in a step
        loss_value, norm_value, *penalised = torch.stack([total, norm, objective, mass]).tolist()
        biases = [batch.bias for batch in work.batches if batch.bias is not None]
        positions = sum(bias.positions for bias in biases)
        self.figures = Figures(
            work.step,
            work.global_step,
            shortest(loss_value),
            shortest(norm_value),
            float(f"{work.learning_rate:.6g}"),
            sum(sum(batch.lengths) for batch in work.batches),
            trained,
            work.rows,
            work.row_digest,
            0.0,
            shortest(penalised[0]) if biases else None,
            shortest(penalised[1] / positions if positions else 0.0) if biases else None,
        )
        if self.figures.is_finite:
            self._non_finite = 0
        else:
            # AdamW passes over parameters without gradient: weights and moments stay as they are
            model.zero_grad(set_to_none=True)
            self._non_finite += 1
        return total

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> None:
        """Trainer would go over all gradients once more for a log that we do not keep."""

    def close_step(self) -> Figures:
        """The figures of the step that has just ended. Raises NonFinite when one too many was not finite."""
        figures = self.figures
        assert figures is not None
        seconds = time.perf_counter() - self._began
        return replace(figures, seconds=round(seconds, 6))

    def judge(self) -> None:
        """Raises NonFinite after too many steps in a row that were not finite."""
        if self._non_finite >= NON_FINITE_IN_A_ROW and self.figures is not None:
            raise NonFinite(
                f"loss or gradient was not finite in {self._non_finite} steps in a row (the last: step "
                f"{self.figures.step}, loss {self.figures.loss}, gradient norm {self.figures.grad_norm}); "
                "lower learning_rate or look at the rows of these steps"
            )


class _AfterStep(TrainerCallback):  # type: ignore[misc]
    def __init__(self, trainer: StepTrainer, after_step: Callable[[Figures], bool]) -> None:
        self._trainer = trainer
        self._after_step = after_step

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        goes_on = self._after_step(self._trainer.close_step())
        self._trainer.judge()
        if not goes_on:
            control.should_training_stop = True
