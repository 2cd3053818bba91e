"""Several writers at once, and writers that die: gapless, one winner, and what was acknowledged is there."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from events.log import Log
from events.types import MoveRequested, PauseRequested, ProcessStarted
from events.verify import verify_log

ROOT = Path(__file__).parents[2]

#: Appends pairs, and in every round tries to be the one that answers the round's request.
RIVAL = """
import sys, time
from pathlib import Path
from events.log import Conflict, Log
from events.types import PauseRequested, ProcessStarted, ServicePaused
path, me, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
log = Log(path, f"rival{me}")
sys.stdin.readline()
for n in range(rounds):
    seen = log.head()
    log.append(ProcessStarted(role="daemon", pid=me), ProcessStarted(role="trainer", pid=me))
    request = next(r for r in log.read(types=(PauseRequested,)) if r.seq == n + 1)
    try:
        fact = ServicePaused(request=request.seq)
        log.append(fact, unless=(ServicePaused,), after=0, key=f"{n} {me}")
        print("won", n, flush=True)
    except Conflict:
        pass
"""

#: Appends as fast as it can, and says each seq once it is acknowledged.
WRITER = """
import sys
from pathlib import Path
from events.log import Log
from events.types import MoveRequested
log = Log(Path(sys.argv[1]), "writer")
n = 0
while True:
    n += 1
    facts = [MoveRequested(sha256=f"{n}/{i}", priority="x" * 500) for i in range(1 + n % 3)]
    print(*log.append(*facts), flush=True)
"""


def child(code: str, *arguments: object) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def test_four_writers_leave_no_gap_and_exactly_one_rival_wins(tmp_path: Path) -> None:
    path, rounds = tmp_path / "log.sqlite", 8
    log = Log(path, "test", create=True)
    log.append(*[PauseRequested()] * rounds)
    rivals = [child(RIVAL, path, me, rounds) for me in range(4)]
    said = []
    for rival in rivals:
        assert rival.stdin is not None
        rival.stdin.write("go\n")
        rival.stdin.flush()
    for rival in rivals:
        out, _ = rival.communicate(timeout=60)
        assert 0 == rival.returncode
        said += out.splitlines()

    found = list(log.read())
    counted = Counter(type(each.event).__name__ for each in found)
    times = [each.at for each in found]

    assert ["won"] == [line.split()[0] for line in said]
    assert 1 == counted["ServicePaused"]
    assert 4 * rounds * 2 == counted["ProcessStarted"]
    assert list(range(1, len(found) + 1)) == [each.seq for each in found]
    assert sorted(times) == times
    assert () == verify_log(log.reader).problems
    pairs = [each for each in found if isinstance(each.event, ProcessStarted)]
    for one, other in zip(pairs[::2], pairs[1::2], strict=True):
        assert (one.seq + 1, one.actor) == (other.seq, other.actor)  # a commit is never torn
    log.close()


@pytest.mark.parametrize("delay", [0.02, 0.05, 0.11, 0.17, 0.3])
def test_what_was_acknowledged_before_the_kill_is_there(tmp_path: Path, delay: float) -> None:
    path = tmp_path / "log.sqlite"
    Log(path, "test", create=True).close()
    acknowledged: list[int] = []
    for _ in range(2):
        writer = child(WRITER, path)
        assert writer.stdout is not None
        acknowledged += map(int, writer.stdout.readline().split())  # it is at work
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        out, _ = writer.communicate(timeout=10)
        whole = out[: out.rfind("\n") + 1]  # the last line may be torn
        acknowledged += [int(seq) for line in whole.splitlines() for seq in line.split()]
    log = Log(path, "test")

    found = [each.seq for each in log.read(types=(MoveRequested,))]

    assert len(acknowledged) > 2
    assert set(acknowledged) <= set(found)
    assert list(range(1, len(found) + 1)) == found
    assert () == verify_log(log.reader).problems
    assert [found[-1] + 1] == log.append(PauseRequested())
    log.close()
