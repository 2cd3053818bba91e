"""Several writers at once: no gap, no torn commit, and of rivals one winner."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from events.log import Log
from events.types import PauseRequested, ProcessStarted
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
