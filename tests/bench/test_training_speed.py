"""Training speed: the whole product path against the trainers that a user would pick instead, and the limit.

Trained tokens per CPU second, one thread, fp32; every arm trains the same documents once, in turn, on the
model, with as many tokens an optimizer step on average. BENCH_ROUNDS sets the rounds: one round's ratio
to the limit swings by a tenth either way on a shared machine, so fewer than nine tell more of it than of us.
"""

import os
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bench import peers
from tests.bench.peers import Documents
from tests.bench.product import Product, settings_for
from tests.bench.table import in_turn, ratios, tell_of

pytestmark = [pytest.mark.bench, pytest.mark.timeout(7200)]

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "9"))
MANY_ROUNDS = min(ROUNDS, 2)  # of ten times as many documents
WIDE_ROUNDS = min(ROUNDS, 2)  # of a vocabulary with which a peer's round takes minutes


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


Rate = Callable[[], float]


def arms_of(names: Sequence[str], model: Any, given: Documents, folder: Path) -> dict[str, Rate]:
    """These peers; TRL's are left out, with the reason, where it is not installed. Each is warm."""
    made: dict[str, Rate] = {}
    few = peers.first(given, 16)
    for name in names:
        if name in peers.TRAINER:
            print(f"\n{name}: {peers.COMMON | peers.TRAINER[name]}", end="")
            peers.trainer(name, model, few, folder).rate()
            made[name] = peers.trainer(name, model, given, folder).rate
        elif name in peers.TRL and peers.HAS_TRL:
            print(f"\n{name}: {peers.settings_of_trl(name, given)}", end="")
            peers.trl(name, model, few, folder).rate()
            made[name] = peers.trl(name, model, given, folder).rate
        elif name in peers.TRL:
            print(f"\n{name}: {peers.WHY_NOT}", end="")
        else:
            peers.limit(model, few)()
            made[name] = peers.limit(model, given)
    return made


def compare(
    what: str, model: Any, given: Documents, bars: dict[str, str], folder: Path, rounds: int = ROUNDS
) -> None:
    """A line for each arm: its rate; how many times as fast the product is, each round by itself."""
    product = Product(folder, model, given, settings_for(given))
    found = in_turn({"evertrain": product.rate, **arms_of(tuple(bars), model, given, folder)}, rounds)
    for name, rates in found.items():
        tell_of(f"{what}: {name}", "-", rates, unit="tokens_per_cpu_s", digits=0)
    for name, bar in bars.items():
        if name in found:
            tell_of(f"{what}: to {name}", bar, ratios(found["evertrain"], found[name]), unit="x", digits=2)


def test_training_against_every_peer(tmp_path: Path) -> None:
    given = peers.documents(int(os.environ.get("BENCH_DOCUMENTS", "416")), 4096)
    bars = {
        "Trainer default": ">= 4.0",
        "TRL packing=bfd": ">= 2.0",
        "TRL padding_free": ">= 1.6",
        "limit": ">= 0.85",
    }
    compare(f"{len(given.ids)} documents", peers.network(4096, 128), given, bars, tmp_path)


def test_a_large_file_against_batches_grouped_by_length(tmp_path: Path) -> None:
    name = "Trainer group_by_length"
    given = peers.documents(int(os.environ.get("BENCH_MANY_DOCUMENTS", "4096")), 4096, seed=2)
    model = peers.network(4096, 128)
    product = Product(tmp_path, model, given, settings_for(given))
    arms_of([name], model, peers.first(given, 16), tmp_path)
    grouped = peers.trainer(name, model, given, tmp_path)
    found = in_turn({"evertrain": product.rate, name: grouped.rate}, MANY_ROUNDS)
    what = f"{len(given.ids)} documents"
    for arm, rates in found.items():
        tell_of(f"{what}: {arm}", "-", rates, unit="tokens_per_cpu_s", digits=0)
    tell_of(f"{what}: to {name}", ">= 1.1", ratios(found["evertrain"], found[name]), unit="x", digits=2)
    # of each step: the last one is what is left
    steps = {"evertrain": product.tokens_a_step[:-1], name: grouped.tokens_a_step[:-1]}
    for arm, tokens in steps.items():
        p5, p50, p95 = (round(float(part)) for part in np.percentile(tokens, (5, 50, 95)))
        print(f"\n{arm}: tokens a step p5 / p50 / p95 {p5} / {p50} / {p95}", end="")
    middle = statistics.median(steps["evertrain"])
    apart = [max(abs(tokens / middle - 1) for tokens in steps["evertrain"])]
    tell_of(f"{what}: tokens a step off their median", "<= 0.05", apart, unit="of_it")


def test_a_large_vocabulary_against_every_peer(tmp_path: Path) -> None:
    # cap 384: of eight longer rows the peers' logits would take more memory than most machines have
    given = peers.documents(int(os.environ.get("BENCH_FEW_DOCUMENTS", "24")), 151_936, seed=3, cap=384)
    bars = {"Trainer default": ">= 4.0", "TRL packing=bfd": ">= 3.0", "limit": "-"}
    compare("vocabulary 151,936", peers.network(151_936, 256), given, bars, tmp_path, WIDE_ROUNDS)
