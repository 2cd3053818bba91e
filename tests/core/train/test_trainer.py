"""The loop: a step is all its tokens at once, bad numbers never reach the weights."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.decide.batches import plan
from core.decide.crash import PHRASES, Evidence, analyse
from core.safety.evidence import words
from core.train import checkpoint, moments
from core.train.attention import choose
from core.train.packed import Batch, PackedModel, batch_of
from core.train.penalties import Penalised, biased
from core.train.refusals import NonFinite
from core.train.trainer import MAX_GRAD_NORM, Figures, StepTrainer, Work
from db.notes import leave_note
from db.workspace import Workspace
from tests.core.train.stand import VOCABULARY, tiny_network

RATE = 1e-2
PENALTIES = (Penalised((7,), 2.0), Penalised((3, 4), 5.0))


def rows(count: int, seed: int = 5) -> list[Batch]:
    """One row a batch, of unlike lengths and shares of targets."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        length = int(generator.integers(4, 40))
        labels = (generator.random(length) < generator.random()).astype(np.uint8)
        labels[0], labels[-1] = 0, 1
        made.append(batch_of([(generator.integers(0, VOCABULARY, length), labels)]))
    return made


def works(batches: list[Batch], each: int, first: int = 1) -> Iterator[Work]:
    for number, start in enumerate(range(0, len(batches), each), first):
        yield Work(number, number, RATE, tuple(batches[start : start + each]), each, 0)


class Stage:
    """A model, its optimizer, and a loop over given steps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = PackedModel(tiny_network())
        choose(self.model)
        self.optimizer = moments.adamw(self.model.network)
        self.figures: list[Figures] = []
        self.gradient = torch.zeros(0)  # that the optimizer was last given, of all parameters
        self.optimizer.register_step_pre_hook(self._keep)

    def _keep(self, *_: Any) -> None:
        gradients = [p.grad.flatten() for p in self.model.parameters() if p.grad is not None]
        self.gradient = torch.cat(gradients) if gradients else torch.zeros(0)

    def train(self, steps: Iterator[Work], count: int, until: int | None = None, seed: int = 1) -> None:
        def after(figures: Figures) -> bool:
            self.figures.append(figures)
            return figures.step != until

        StepTrainer(
            self.model, self.optimizer, steps, count, seed=seed, folder=self.folder, after_step=after
        ).train()

    def state(self) -> dict[str, torch.Tensor]:
        live = {**checkpoint.weights(self.model.network), **moments.read(self.model.network, self.optimizer)}
        return {name: tensor.clone() for name, tensor in live.items()}


@pytest.fixture
def stage(tmp_path: Path) -> Callable[[], Stage]:
    return lambda: Stage(tmp_path)


def far(one: torch.Tensor, other: torch.Tensor) -> float:
    """Norm of the difference, of the norm."""
    return float((one - other).norm() / other.norm())


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_step_is_the_bare_arithmetic_of_forward_backward_clip_and_adamw(stage: Callable[[], Stage]) -> None:
    ours, bare = stage(), stage()
    for one in (ours, bare):
        one.model.network.config.attention_dropout = 0.0
        for layer in one.model.network.model.layers:
            layer.self_attn.attention_dropout = 0.0
    batches = rows(6)
    ours.train(works(batches, 3), 2)
    for step in (batches[:3], batches[3:]):
        targets = sum(len(batch.targets) for batch in step)
        for batch in step:
            (bare.model(batch) / targets).backward()
        torch.nn.utils.clip_grad_norm_(bare.model.parameters(), MAX_GRAD_NORM)
        for group in bare.optimizer.param_groups:
            group["lr"] = RATE
        bare.optimizer.step()
        bare.optimizer.zero_grad()

    assert same(ours.state(), bare.state())


@pytest.mark.parametrize("each", [1, 2, 3, 4])
@pytest.mark.parametrize("penalties", [(), PENALTIES])
def test_micro_batches_of_a_step_weigh_by_their_tokens(
    stage: Callable[[], Stage], penalties: tuple[Penalised, ...], each: int
) -> None:
    # 4 rows as 4 micro-batches of one, 2 of two, three and a short last one, or 1 of four: the same gradient
    generator = np.random.default_rng(6)
    pairs = [(generator.integers(0, VOCABULARY, n), np.arange(n) > n // 2) for n in (5, 30, 9, 21)]
    one, whole = stage(), stage()
    for staged, size in ((one, each), (whole, 4)):
        for layer in staged.model.network.model.layers:
            layer.self_attn.attention_dropout = 0.0
        parts = tuple(batch_of(pairs[start : start + size]) for start in range(0, 4, size))
        if penalties:
            parts = tuple(biased(part, penalties) for part in parts)
        staged.train(iter([Work(1, 1, RATE, parts, 4, 0)]), 1)
    expected, found = whole.figures[0], one.figures[0]

    assert far(one.gradient, whole.gradient) <= 1e-6
    assert pytest.approx(expected.loss, abs=1e-6) == found.loss
    assert bool(penalties) == (found.objective is not None) == (found.penalty_mass is not None)
    assert pytest.approx(expected.objective or 0.0, abs=1e-6) == (found.objective or 0.0)
    assert pytest.approx(expected.penalty_mass or 0.0, rel=1e-5) == (found.penalty_mass or 0.0)
    assert pytest.approx(expected.grad_norm, rel=1e-6) == found.grad_norm
    assert expected.trained_tokens == found.trained_tokens


def test_a_short_last_step_has_the_gradient_of_its_rows_alone(stage: Callable[[], Stage]) -> None:
    generator = np.random.default_rng(7)
    pairs = [(generator.integers(0, VOCABULARY, n), np.arange(n) > n // 2) for n in (40, 10, 41, 9, 42, 8)]
    made = plan(
        np.array([len(ids) for ids, _ in pairs]), np.arange(6), sha256="0" * 64, seed=1, epochs=1,
        batch_size=1, accumulation=2, max_length=50,
    )  # fmt: skip
    *_, last = made.steps(1)
    ours, alone = stage(), stage()
    for staged in (ours, alone):
        for layer in staged.model.network.model.layers:
            layer.self_attn.attention_dropout = 0.0
    ours.train(
        iter([Work(1, 1, 0.0, tuple(batch_of([pairs[n] for n in part]) for part in last), len(last), 0)]), 1
    )
    rows_of_it = [pairs[n] for part in last for n in part]
    targets = sum(int(labels.sum()) for _, labels in rows_of_it)
    for row in rows_of_it:
        (alone.model(batch_of([row])) / targets).backward()
    torch.nn.utils.clip_grad_norm_(alone.model.parameters(), MAX_GRAD_NORM)
    gradient = torch.cat([p.grad.flatten() for p in alone.model.parameters()])

    assert (1, 2) == (len(last), len(rows_of_it))
    assert far(ours.gradient, gradient) <= 1e-6


@pytest.mark.parametrize("penalties", [(), PENALTIES])
def test_a_run_cut_anywhere_and_taken_up_in_fresh_memory_ends_in_the_same_bits(
    stage: Callable[[], Stage], tmp_path: Path, penalties: tuple[Penalised, ...]
) -> None:
    batches = [biased(batch, penalties) if penalties else batch for batch in rows(16)]
    undisturbed = stage()
    undisturbed.train(works(batches, 2), 8)
    first, second = stage(), stage()
    first.train(works(batches, 2), 8, until=3)
    checkpoint.write(tmp_path / "checkpoint-3", first.model.network, first.optimizer, {})
    torch.rand(17)  # whatever the generators were used for in between
    second.train(works(rows(4, seed=8), 1), 3)
    checkpoint.load(tmp_path / "checkpoint-3", second.model.network, second.optimizer)
    second.train(works(batches[6:], 2, first=4), 5)

    assert same(undisturbed.state(), second.state())


def test_dropout_differs_from_step_to_step_and_with_the_seed(stage: Callable[[], Stage]) -> None:
    batch = rows(1)
    one, other = stage(), stage()
    for staged, seed in ((one, 1), (other, 2)):
        staged.model.eval()
        staged.train(iter([Work(step, step, 0.0, (batch[0],), 1, 0) for step in (1, 2)]), 2, seed=seed)

    losses = [figures.loss for figures in one.figures + other.figures]
    assert 4 == len(set(losses))


def poisoned(batches: list[Batch], model: PackedModel, bad: set[int]) -> Iterator[Work]:
    """Steps of one batch; in the bad ones an infinite state reaches the loss."""
    for work in works(batches, 1):
        handle = None
        if work.step in bad:
            handle = model.network.model.norm.register_forward_hook(lambda *given: given[-1] * math.inf)
        yield work
        if handle is not None:
            handle.remove()


def test_a_step_that_is_not_finite_changes_neither_weights_nor_moments(stage: Callable[[], Stage]) -> None:
    batches = rows(3)
    staged = stage()
    staged.train(poisoned(batches, staged.model, {2}), 3, until=1)
    before = staged.state()
    staged.train(poisoned(batches[1:2], staged.model, {1}), 1)

    assert not staged.figures[-1].is_finite
    assert same(before, staged.state())
    staged.model.network.model.norm._forward_hooks.clear()
    staged.train(works(batches[2:], 1), 1)
    assert staged.figures[-1].is_finite
    assert all(torch.isfinite(tensor).all() for tensor in staged.state().values())
    assert not same(before, staged.state())


def test_three_in_a_row_end_the_run_two_and_two_do_not(stage: Callable[[], Stage]) -> None:
    staged = stage()
    staged.train(poisoned(rows(6), staged.model, {1, 2, 4, 5}), 6)

    assert [False, False, True, False, False, True] == [figures.is_finite for figures in staged.figures]
    staged = stage()
    with pytest.raises(NonFinite, match="lower learning_rate"):
        staged.train(poisoned(rows(6), staged.model, {2, 3, 4}), 6)
    assert 4 == staged.figures[-1].step


def test_a_loss_that_is_no_number_is_named_so_by_the_crash_analysis(
    stage: Callable[[], Stage], tmp_path: Path
) -> None:
    staged, workspace = stage(), Workspace(tmp_path / "workspace")
    with pytest.raises(NonFinite), leave_note(workspace.notes, "trainer", PHRASES):
        staged.train(poisoned(rows(6), staged.model, {2, 3, 4}), 6)
    said = words(workspace, "trainer")
    found = analyse(Evidence("trainer", 1, raised=said.raised, frames=said.frames))

    assert "non_finite" == found.category
    assert "core/train/trainer.py" in found.signature


def test_nothing_is_read_ahead(stage: Callable[[], Stage]) -> None:
    staged, made = stage(), []

    def watched() -> Iterator[Work]:
        for work in works(rows(5), 1):
            made.append(work.step)
            yield work

    staged.train(watched(), 5, until=3)

    assert [1, 2, 3] == made == [figures.step for figures in staged.figures]
