"""A trainer that is started again: how long to its first step, against importing and loading alone."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.settings import Settings
from tests.bench import peers
from tests.bench.product import Bench
from tests.bench.table import ratios, tell, tell_of

ROOT = Path(__file__).parents[2]
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

BARE = """
import os, sys
import torch, transformers
from transformers import AutoModelForCausalLM
AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32, local_files_only=True)
os._exit(0)
"""

# The trainer's process, which ends when the figures of its first step reach the recorder.
FIRST_STEP = """
import os, runpy, sys
class Watch:
    def find_spec(self, name, path, target=None):
        if name == "core.train.run":
            from core.train.record import Recorder
            Recorder.step = lambda *_: os._exit(0)
sys.meta_path.insert(0, Watch())
sys.argv = ["core.train", "--workspace", sys.argv[1]]
runpy.run_module("core.train", run_name="__main__", alter_sys=True)
os._exit(1)
"""


def seconds(code: str, argument: Path) -> tuple[float, float]:
    """(wall, CPU) seconds of a process of its own."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(
        [sys.executable, "-P", "-c", code, str(argument)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    wall, after = time.perf_counter() - began, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def test_from_start_to_first_step(tmp_path: Path) -> None:
    base, given = tmp_path / "base", peers.documents(40, 512)
    peers.network(512, 32, layers=2).save_pretrained(base)
    stand = Bench(tmp_path / "workspace", base, given, Settings(validation_fraction=0.0))
    stand.start(stand.queue("a.jsonl", rows=len(given.ids)))
    arms = {"import and load alone": (BARE, base), "first step": (FIRST_STEP, stand.workspace.root)}
    rounds = [{name: seconds(*arm) for name, arm in arms.items()} for _ in range(ROUNDS + 1)][1:]
    for kind, number in (("wall", 0), ("cpu", 1)):
        bare, first = ([found[name][number] for found in rounds] for name in arms)
        tell(f"restart: import and load, {kind}", "-", bare)
        tell(f"restart: to the first step, {kind}", "-", first)
        tell_of(f"restart: of import and load, {kind}", "<= 1.2", ratios(first, bare), unit="x", digits=2)
