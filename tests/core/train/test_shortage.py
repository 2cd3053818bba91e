"""Too little memory: smaller micro-batches, the same step, the same bits however often it is taken up."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.decide.batches import lay_out
from core.decide.halving import MOST
from core.train import moments
from core.train.attention import choose
from core.train.memory import Memory, settings_that_build
from core.train.packed import PackedModel
from core.train.shortage import asked, is_shortage
from core.train.steps import Steps
from core.train.trainer import Figures
from events.types import (
    AlertRaised,
    AttemptStarted,
    MicroBatchHalved,
    StepsCompleted,
    TrainingCompleted,
    TrainingFailed,
    TrainingInterrupted,
)
from tests.core.train.stand import ROOT, ROWS, Stand, StopAfter, column, only, tiny_network

Make = Callable[..., Stand]
CPU = (
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
    "allocate 4096 bytes. Error code 12 (Cannot allocate memory)"
)
CUDA = "CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has a total capacity of 23.64 GiB"
ERRORS = [RuntimeError(CPU), torch.OutOfMemoryError(CUDA), MemoryError()]


@contextmanager
def room_for(tokens: int, error: BaseException = ERRORS[0], after: int = 0) -> Iterator[list[int]]:
    """A machine on which no more tokens fit at a time, once so many micro-batches did; what was tried."""
    tried: list[int] = []

    def check(module: torch.nn.Module, given: tuple[object, ...]) -> None:
        if isinstance(module, PackedModel) and module.training:
            tried.append(sum(given[0].lengths))  # type: ignore[attr-defined]
            if tried[-1] > tokens and len(tried) > after:
                raise type(error)(*error.args)

    handle = torch.nn.modules.module.register_module_forward_pre_hook(check)
    try:
        yield tried
    finally:
        handle.remove()


@pytest.mark.parametrize(("error", "expected"), [(ERRORS[0], 4096), (ERRORS[1], 3 << 29), (ERRORS[2], None)])
def test_a_lack_of_memory_is_known_by_class_or_words_with_what_was_asked(
    error: BaseException, expected: int | None
) -> None:
    assert is_shortage(error)
    assert expected == asked(error)
    assert not is_shortage(RuntimeError("shape '[3]' is invalid for input of size 4"))


def only_one(figures: list[Figures]) -> Callable[[Figures], bool]:
    def after_step(step: Figures) -> bool:
        figures.append(step)
        return False

    return after_step


def test_a_step_in_parts_has_the_gradient_of_the_whole_one(stand: Stand, tmp_path: Path) -> None:
    sha256 = stand.queue("a.jsonl")
    store, found = stand.store(sha256), {}
    settings = replace(stand.settings, gradient_accumulation=1)
    plan = lay_out(store.hashes, store.lengths, settings, sha256=sha256).plan
    for tokens in (10_000, 150, 64):
        network = tiny_network()
        for layer in network.model.layers:
            layer.self_attn.attention_dropout = 0.0
        model = PackedModel(network)
        memory = Memory(model, moments.adamw(network), choose(model), settings_that_build(settings))
        figures: list[Figures] = []
        steps = Steps(store, plan, settings)
        with room_for(tokens, ERRORS[1]) as tried:
            steps.train(
                memory, done=0, global_step=0, folder=tmp_path, after_step=only_one(figures),
                halved=lambda *_: None,
            )  # fmt: skip
        # after one step the first moment is the gradient, times a constant
        state = moments.read(network, memory.optimizer)
        first = torch.cat([state[name].flatten() for name in sorted(state) if "exp_avg_sq" not in name])
        found[tokens] = first, figures[0], tried, dict(steps.halvings)
    whole, one, _, none = found.pop(10_000)

    assert {} == none
    once, more = (halvings[1] for *_, halvings in found.values())
    assert 1 == once < more
    for gradient, figures_, tried, _ in found.values():
        assert len(tried) > 2
        assert (gradient - whole).norm() / whole.norm() < 1e-6
        assert pytest.approx(one.loss, rel=1e-6) == figures_.loss
        assert (one.tokens, one.trained_tokens, one.rows, one.row_digest) == (
            figures_.tokens, figures_.trained_tokens, figures_.rows, figures_.row_digest,
        )  # fmt: skip


def test_once_halved_a_run_goes_on_so_and_ends_in_the_same_bits_however_often_it_is_halted(
    make_stand: Make, undisturbed: Stand
) -> None:
    cramped, halted = make_stand("cramped"), make_stand("halted")
    for stand in (cramped, halted):
        stand.start(stand.queue("a.jsonl", rows=ROWS))
    with room_for(150, after=12):
        cramped.train()
    (halving,) = cramped.facts(MicroBatchHalved)
    fact = halving.event
    with room_for(150, after=12):
        halted.train(stop=StopAfter(11))
    halted.train()  # with room enough: cut as before all the same

    assert (7, 1, 4096) == (fact.step, fact.halvings, fact.bytes_asked)
    assert fact.tokens_after <= 150 < fact.tokens_before
    assert 1 == len(halted.facts(MicroBatchHalved)) == len(halted.facts(TrainingInterrupted))
    assert only(halted, TrainingInterrupted).step > fact.step
    assert cramped.final() == halted.final()
    assert column(cramped, "loss") == column(halted, "loss")
    assert column(undisturbed, "loss")[: fact.step - 1] == column(cramped, "loss")[: fact.step - 1]
    assert undisturbed.final() != cramped.final()  # rounded otherwise, so the equality above says something
    assert column(undisturbed, "rows") == column(cramped, "rows")
    assert pytest.approx(column(undisturbed, "loss"), rel=1e-2) == column(cramped, "loss")


def test_steps_that_are_cut_otherwise_than_before_are_not_compared(make_stand: Make) -> None:
    stand = make_stand("halted")
    stand.start(stand.queue("a.jsonl", rows=ROWS))
    stand.train(stop=StopAfter(11))
    newest = stand.workspace.root / only(stand, TrainingInterrupted).checkpoint
    (newest / "model.safetensors").write_bytes(b"")
    with room_for(150):
        stand.train()
    went_on = stand.facts(AttemptStarted)[-1].event

    assert went_on.step < only(stand, TrainingInterrupted).step
    assert went_on.step + 1 == only(stand, MicroBatchHalved).step
    assert [] == stand.facts(AlertRaised)


@pytest.mark.parametrize(("windows", "words"), [(8, "was halved 3 times"), (1, "one row of")])
def test_what_does_not_fit_in_the_smallest_parts_fails_with_words(
    make_stand: Make, windows: int, words: str
) -> None:
    stand = make_stand("small", batch_size=windows)
    stand.start(stand.queue("a.jsonl"))
    with room_for(1):
        stand.train()
    failed, halvings = only(stand, TrainingFailed), [r.event.halvings for r in stand.facts(MicroBatchHalved)]

    assert list(range(1, len(halvings) + 1)) == halvings
    assert (len(halvings) == MOST) is (windows == 8)
    assert words in failed.reason
    assert "4,096 bytes were asked for" in failed.reason
    assert "lower max_length" in failed.reason
    assert [] == stand.facts(StepsCompleted)


@pytest.mark.chaos
def test_a_process_that_the_kernel_refuses_memory_trains_the_file_in_smaller_parts(
    make_stand: Make, tmp_path: Path
) -> None:
    tiny_network(width=256).save_pretrained(tmp_path / "base")  # so that the rows weigh more than all else
    large = {"base": tmp_path / "base", "batch_size": 48, "gradient_accumulation": 1}
    stand, roomy = (make_stand(name, **large) for name in ("cramped", "roomy"))
    for each in (stand, roomy):
        each.start(each.queue("a.jsonl", rows=260))
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "MALLOC_MMAP_THRESHOLD_": "65536",
        "MALLOC_ARENA_MAX": "1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "tests.core.train.cramped", str(stand.workspace.root), "0.7"],
        env=environment, cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip

    assert 0 == done.returncode, done.stderr[-2000:]
    assert 1 == len(stand.facts(TrainingCompleted))
    (halving,) = stand.facts(MicroBatchHalved)
    assert (1, 1) == (halving.event.step, halving.event.halvings)
    assert halving.event.bytes_asked is None or halving.event.bytes_asked > 0
    roomy.log.append(halving.event)
    roomy.train()
    assert stand.final() == roomy.final()
