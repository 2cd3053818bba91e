"""What evertrain itself costs: over the bare Trainer on the same steps, and for validation.

The same file, model and plan; the bare arm has no log, no resume points, no heartbeats, no requests to look
for.
"""

import gc
import os
import time
from pathlib import Path

import pytest

from core.decide.batches import lay_out
from core.settings import Settings
from core.train.memory import build
from core.train.steps import Steps
from core.train.validation import measure, sets_of
from events.types import ValidationMeasured
from tests.bench import peers
from tests.bench.product import Product, settings_for
from tests.bench.table import in_turn, ratios, tell_of

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def test_overhead_over_the_bare_trainer(tmp_path: Path) -> None:
    given = peers.documents(int(os.environ.get("BENCH_DOCUMENTS", "416")), 4096)
    settings = settings_for(given)
    product = Product(tmp_path, peers.network(4096, 128), given, settings)
    memory = build(tmp_path / "base", settings)

    def bare() -> float:
        sha256 = product.newest_file
        store = product.stand.store(sha256)
        steps = Steps(store, lay_out(store.hashes, store.lengths, settings, sha256=sha256).plan, settings)
        gc.collect()
        began = time.process_time()
        steps.train(memory, done=0, global_step=0, folder=tmp_path, after_step=lambda _: True)
        return given.trained / (time.process_time() - began)

    bare()
    found = in_turn({"evertrain": product.rate, "bare Trainer": bare}, ROUNDS)
    costs = [ratio - 1 for ratio in ratios(found["bare Trainer"], found["evertrain"])]
    what = f"{len(given.ids)} documents"
    for name, rates in found.items():
        tell_of(f"{what}: {name}", "-", rates, unit="tokens_per_cpu_s", digits=0)
    tell_of(f"{what}: overhead", "<= 0.02", costs, unit="of_bare")


def test_validation_at_the_default_settings(tmp_path: Path) -> None:
    """One evaluation by itself, times how many there were, of all the rest of the run."""
    documents = int(os.environ.get("BENCH_VALIDATED_DOCUMENTS", "1000"))
    given = peers.documents(documents, 4096, seed=4)
    settings = Settings(max_length=1024)  # shorter windows than the default: more steps, more evaluations
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
