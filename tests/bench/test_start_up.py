"""How long a person waits: `--help`, `status`, the demo's first loss. `make bench` prints the table."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.bench.table import tell
from tests.e2e.stage import Stage

ROOT = Path(__file__).parents[2]
RUNS = 5

pytestmark = pytest.mark.bench


def seconds_of(*arguments: str) -> tuple[float, float]:
    """(wall, CPU) seconds of one command, as a process of its own."""
    before = os.times()
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-P", "-c", "from core.cli import main; main()", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    wall = time.perf_counter() - began
    after = os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def test_commands_answer_at_once(tmp_path: Path, demo_base: Path, evertrain: Callable[..., Any]) -> None:
    root = tmp_path / "workspace"
    evertrain("init", "--base", demo_base, "--workspace", root)
    commands = {"--help": ("--help",), "status": ("status", "--workspace", str(root))}
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for arguments in commands.values():
        seconds_of(*arguments)  # warm: the first run reads the files from disk
    for _ in range(RUNS):  # in turn, so that a busy moment hits both
        for name, arguments in commands.items():
            measured[name].append(seconds_of(*arguments))
    for name, bar in (("--help", "0.5 s"), ("status", "1.2 s")):
        walls, cpus = zip(*measured[name], strict=True)
        tell(f"evertrain {name}", bar, walls, cpu_median_s=round(statistics.median(cpus), 3))


@pytest.mark.timeout(900)
def test_the_demo_from_start_to_end(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "demo-workspace")
    began = time.perf_counter()
    process = stage.serve("--until-idle", command="demo")
    while not stage.workspace.log.exists():
        time.sleep(0.1)
    from events.types import StepsCompleted

    stage.wait_for_fact(StepsCompleted, timeout=300)
    first = time.perf_counter() - began
    assert 0 == process.wait(600)
    tell("demo: first loss in the log", "60 s", [first])
    tell("demo: from start to end", "180 s", [time.perf_counter() - began])
