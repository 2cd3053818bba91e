"""What evertrain itself costs: over the bare Trainer on the same steps, and for validation.

One run at a time, taken apart by where its CPU seconds go.
"""

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.decide.batches import lay_out
from core.settings import Settings
from core.train.memory import Memory, build
from core.train.steps import Steps
from core.train.trainer import Figures
from core.train.validation import measure, sets_of
from events.types import ValidationMeasured
from tests.bench import peers
from tests.bench.product import Product, settings_for
from tests.bench.table import in_turn, tell_of

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def test_overhead_over_the_bare_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All CPU seconds of a run, of those its thread spent in Trainer's loop: both arms are one run.

    Between them: plan, log, recorder, requests, heartbeats, resume point, what follows a step.
    """
    given = peers.documents(int(os.environ.get("BENCH_DOCUMENTS", "416")), 4096)
    product = Product(tmp_path, peers.network(4096, 128), given, settings_for(given))
    bare = 0.0
    train = Steps.train

    def timed(steps: Steps, memory: Memory, *, after_step: Callable[[Figures], bool], **more: Any) -> None:
        nonlocal bare

        def after(figures: Figures) -> bool:
            nonlocal bare
            began = time.thread_time()
            goes_on = after_step(figures)
            bare -= time.thread_time() - began
            return goes_on

        began = time.thread_time()
        train(steps, memory, after_step=after, **more)
        bare += time.thread_time() - began

    monkeypatch.setattr(Steps, "train", timed)
    costs = []
    for _ in range(ROUNDS):
        bare = 0.0
        costs.append(given.trained / product.rate() / bare - 1)
    tell_of(f"{len(given.ids)} documents: overhead", "<= 0.02", costs, unit="of_bare")


def test_validation_at_the_default_settings(tmp_path: Path) -> None:
    """One evaluation by itself, times how many there were, of all the rest of the run."""
    documents = int(os.environ.get("BENCH_VALIDATED_DOCUMENTS", "1000"))
    given = peers.documents(documents, 4096, seed=4)
    settings = Settings()
    product = Product(tmp_path, peers.network(4096, 128), given, settings)
    memory = build(tmp_path / "base", settings)

    def evaluation() -> float:
        sha256 = product.newest_file
        store = product.stand.store(sha256)
        layout = lay_out(store.hashes, store.lengths, settings, sha256=sha256)
        gc.collect()
        began = time.process_time()
        measure(sets_of(store, layout, None, settings), memory.model, give_up=lambda: False)
        return time.process_time() - began

    evaluation()
    found = in_turn({"run": lambda: given.trained / product.rate(), "one": evaluation}, min(ROUNDS, 2))
    facts = [recorded.event for recorded in product.stand.facts(ValidationMeasured)]
    times = sum(fact.run == product.newest_run for fact in facts)
    shares = [times * one / (run - times * one) for run, one in zip(found["run"], found["one"], strict=True)]
    what = f"{documents} documents, {times} evaluations"
    tell_of(f"{what}: validation", "<= 0.05", shares, unit="of_the_rest", rows=facts[-1].rows)

    assert times >= 2
