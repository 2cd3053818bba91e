"""Two writers that are killed at once: what they were told is there, gapless, with its curves."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.logbook import open_log
from core.rebuilding import compare_curves
from db.workspace import Workspace
from events.types import PauseRequested
from events.verify import verify_log

ROOT = Path(__file__).parents[2]

#: Opens the log, and is forked into a new pair of writers for each line it reads: no interpreter to start.
#: Each appends steps and other facts one append after the other, and says each seq once it is acknowledged.
NURSERY = """
import os, sys, time
from pathlib import Path
from core.logbook import open_log
from db.workspace import Workspace
from events.types import MoveRequested, StepsCompleted
place = Workspace(Path(sys.argv[1]))

def write(me, turn, out):
    log, n = open_log(place, f"writer{me}"), 0
    while True:
        n += 1
        at = 1 + 5 * n + 40 * me
        facts = [StepsCompleted(run=f"r{me}", attempt=turn, first_step=at, first_global_step=at, n=5,
                                columns={"loss": [1 / n, 0.5, 0.25, 2.5, n / 7]})]
        facts += [MoveRequested(sha256=f"{turn}/{n}/{i}", priority="x" * 300) for i in range(n % 3)]
        os.write(out, (" ".join(map(str, log.append(*facts))) + "\\n").encode())
        time.sleep(0.001)  # SQLite has no queue of writers: else one of them starves

for line in sys.stdin:
    turn, pids = int(line), []
    for me in (0, 1):
        pid = os.fork()
        if pid == 0:
            write(me, turn, int(sys.argv[2 + me]))
        pids.append(pid)
    print(*pids, flush=True)
    for pid in pids:
        os.waitpid(pid, 0)
    print("gone", flush=True)
"""


class Writers:
    """Pairs of writers, killed one after the other at moments by chance."""

    def __init__(self, place: Workspace) -> None:
        self.place = place
        self._pipes = [os.pipe(), os.pipe()]
        ends = [end for _, end in self._pipes]
        self._nursery = subprocess.Popen(
            [sys.executable, "-P", "-c", NURSERY, str(place.root), *map(str, ends)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=ends,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        for read, _ in self._pipes:
            os.set_blocking(read, False)

    def cycle(self, turn: int, chance: random.Random) -> list[int]:
        """Two writers at work, killed; gives the seqs that they had been told."""
        assert self._nursery.stdin is not None and self._nursery.stdout is not None
        self._nursery.stdin.write(f"{turn}\n")
        self._nursery.stdin.flush()
        pids = [int(pid) for pid in self._nursery.stdout.readline().split()]
        said = [b"", b""]
        deadline = time.monotonic() + 60
        while not all(b"\n" in part for part in said):  # both are at work
            self._listen(said)
            assert time.monotonic() < deadline
            time.sleep(0.002)
        for pid in chance.sample(pids, 2):
            time.sleep(chance.uniform(0, 0.04))
            os.kill(pid, signal.SIGKILL)
        assert "gone\n" == self._nursery.stdout.readline()
        self._listen(said)
        # one write of a short line is whole
        return [int(seq) for part in said for line in part.splitlines() for seq in line.split()]

    def _listen(self, said: list[bytes]) -> None:
        for me, (read, _) in enumerate(self._pipes):
            with contextlib.suppress(BlockingIOError):
                while part := os.read(read, 65536):
                    said[me] += part

    def close(self) -> None:
        self._nursery.communicate(timeout=10)  # the end of its input is its end
        for pipe in self._pipes:
            for end in pipe:
                os.close(end)


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "workspace")
    made.lay_out()
    open_log(made, "test", create=True).close()
    return made


@pytest.fixture
def writers(place: Workspace) -> Iterator[Writers]:
    made = Writers(place)
    yield made
    made.close()


def kill(writers: Writers, cycles: int, whole_every: int) -> None:
    """So many kills of two writers; each time the newest facts are looked at, now and then all of them."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance, log, known = random.Random(seed), open_log(writers.place, "test"), 0
    acknowledged, both = 0, 0
    for turn in range(1, cycles + 1):
        told = writers.cycle(turn, chance)
        seqs = [recorded.seq for recorded in log.read(known)]

        assert told and set(told) <= set(seqs)
        assert list(range(known + 1, log.head() + 1)) == seqs
        assert len(told) == len(set(told))
        assert [log.head() + 1] == log.append(PauseRequested())
        both += len({recorded.actor for recorded in log.read(known)} & {"writer0", "writer1"}) == 2
        acknowledged, known = acknowledged + len(told), log.head()
        if turn % whole_every == 0 or turn == cycles:
            assert () == verify_log(log.reader).problems
            assert [] == compare_curves(log)
    print(f"{cycles} cycles, {acknowledged} acknowledged facts, {log.head()} in the log")

    assert cycles == both
    log.close()


def test_what_two_killed_writers_were_told_is_there_with_its_curves(writers: Writers) -> None:
    kill(writers, 10, whole_every=1)


@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_what_two_killed_writers_were_told_is_there_300_times(writers: Writers) -> None:
    kill(writers, 300, whole_every=10)
