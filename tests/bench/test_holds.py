"""How long the write lock is held while the log is mended or an older one is folded: others append meanwhile.

A log of a million steps on a RAM disk where there is one; BENCH_HOLD_STEPS: another number.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.jobs.table import BETWEEN_SLICES
from core.logbook import FACTS_A_SLICE, backfill, keep_curves
from core.rebuilding import rebuild
from db.workspace import Workspace
from events.log import Log
from tests.bench.table import tell
from tests.bench.years import write

ROOT = Path(__file__).parents[2]
STEPS = int(os.environ.get("BENCH_HOLD_STEPS", 1_000_000))

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]

#: Appends a fact every 20 ms until its input ends, and says how long each took.
OTHER = """
import json, sys, threading, time
from pathlib import Path
from events.log import Log
from events.types import PauseRequested
log, waits, end = Log(Path(sys.argv[1]), "other"), [], threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), end.set()), daemon=True).start()
while not end.wait(0.02):
    began = time.perf_counter()
    log.append(PauseRequested())
    waits.append(time.perf_counter() - began)
print(json.dumps(waits))
"""


class Timed(Log):
    """Keeps how long each transaction that is no append held the lock."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "cli", inline=keep_curves)
        self.holds, self.cpu = list[float](), list[float]()

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        with super().transaction() as db:
            wall, cpu = time.perf_counter(), time.thread_time()
            yield db
        self.holds.append(time.perf_counter() - wall)
        self.cpu.append(time.thread_time() - cpu)


@pytest.fixture(scope="module")
def path() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    write(root, STEPS)
    yield Workspace(root).log
    shutil.rmtree(root)


@contextmanager
def others(path: Path, waits: list[float]) -> Iterator[None]:
    """Another process appends meanwhile; `waits` gets how long each append took."""
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", OTHER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    yield
    waits += json.loads(child.communicate(timeout=60)[0])


def show(name: str, log: Timed, waits: list[float]) -> None:
    longest = round(max(log.cpu) * 1e3, 1)
    tell(f"held: {name}", "<= 0.05 s", log.holds, longest_cpu_ms=longest, transactions=len(log.holds))
    ordered = sorted(waits)
    p99 = round(ordered[int(len(ordered) * 0.99)] * 1e3, 1)
    tell(f"appends beside: {name}", "-", waits, p99_ms=p99, appends=len(waits))


def test_a_rebuild_that_mends_holds_nobody_up(path: Path) -> None:
    log, waits = Timed(path), list[float]()
    with log.transaction() as db:
        db.execute("UPDATE rollup SET sum = sum + 1 WHERE lvl = 0")
        db.execute("DELETE FROM history WHERE lvl = 1")
    log.holds.clear()
    log.cpu.clear()
    with others(path, waits):
        found = rebuild(log)
    show(f"rebuild, {STEPS:,} steps", log, waits)

    assert len(found) > 1000
    assert [] == rebuild(log)
    log.close()


def test_folding_an_older_log_holds_nobody_up(path: Path) -> None:
    log, waits = Timed(path), list[float]()
    for statement in (
        "DELETE FROM history", "DELETE FROM strand", "INSERT INTO backfill VALUES ('history', 0)",
    ):  # fmt: skip
        with log.transaction() as db:
            db.execute(statement)
    log.holds.clear()
    log.cpu.clear()
    with others(path, waits):
        while backfill(log):
            time.sleep(BETWEEN_SLICES)
    show(f"{FACTS_A_SLICE} facts of {STEPS:,} steps", log, waits)

    assert [] == rebuild(log)
    log.close()
