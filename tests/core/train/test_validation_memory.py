"""Measuring beside a training step: no more memory, and smaller windows where those of steps are."""

import ctypes
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from core import ram
from core.intake.encoded import Encoded
from core.intake.tokens import StoreWriter, TokenStore
from core.settings import Settings
from core.train import selftest
from core.train.memory import Memory, build
from core.train.selftest import Sizes
from core.train.validation import Holdout

ROWS, LENGTH = 16, 128
SIZES = Sizes(layers=4, hidden=128, vocabulary=50_000, tokens=ROWS * LENGTH)
MIB = 1 << 20


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    selftest._make(tmp_path / "model", SIZES)
    return build(tmp_path / "model", Settings())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TokenStore]:
    """As many tokens as a micro-batch has, nearly all of them targets."""
    ids = np.random.default_rng(1).integers(2, SIZES.vocabulary, (ROWS, LENGTH)).astype(np.uint32)
    labels = (np.arange(LENGTH) > 0).astype(np.uint8)
    with StoreWriter(tmp_path / "tokens", "key") as writer:
        for number, row in enumerate(ids):
            writer.append(Encoded(row, labels), bytes([number]) * 32, number + 1)
        writer.finish({})
    yield TokenStore.open(tmp_path / "tokens" / "key")


def holdout(store: TokenStore, halvings: int = 0) -> Holdout:
    rows = np.arange(ROWS)
    return Holdout(store, rows, max_length=SIZES.tokens, batch_size=1, halvings=halvings)


def test_measuring_takes_no_more_memory_than_a_training_step(memory: Memory, store: TokenStore) -> None:
    measured, (batch,) = holdout(store), list(holdout(store).batches())

    def step() -> None:
        memory.model.train()
        memory.model(batch).backward()
        memory.optimizer.step()
        memory.optimizer.zero_grad(set_to_none=True)

    def full_logits() -> None:
        memory.model.eval()
        with torch.no_grad():
            memory.model.network(input_ids=batch.input_ids).logits.float().logsumexp(-1)

    step()  # the moments are there from now on
    peaks = []
    for work in (lambda: measured.measure(memory.model, give_up=lambda: False), step, full_logits):
        # what the one before has freed goes back to the system: the next would take from it unseen
        ctypes.CDLL(None).malloc_trim(0)
        if not ram.begin_peak():
            pytest.skip("this kernel keeps the peak of the whole life")
        held = ram.held()
        work()
        peaks.append(ram.peak() - held)
    evaluation, training, careless = peaks

    assert evaluation <= training
    assert careless > training  # what a measure of all logits at once would take: the test can fail


def test_windows_of_a_measure_are_halved_with_those_of_the_steps(memory: Memory, store: TokenStore) -> None:
    whole, halved = holdout(store), holdout(store, halvings=2)
    losses = [each.measure(memory.model, give_up=lambda: False) for each in (whole, halved)]

    assert [1, 4] == [len(list(each.batches())) for each in (whole, halved)]
    assert whole.trained_tokens == halved.trained_tokens == ROWS * (LENGTH - 1)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
