"""Several writers at once: no gap, no torn commit, and of rivals one winner."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from events.log import Log
from events.types import MoveRequested, PauseRequested, ProcessStarted
from events.verify import verify_log

ROOT = Path(__file__).parents[2]

#: Appends pairs, and in every round tries to be the one that answers the round's request.
RIVAL = """
import sys, time
from pathlib import Path
from events.log import Conflict, Log
from events.types import MoveRequested, PauseRequested, ProcessStarted, ServicePaused
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

#: Counts: each number rests on the one before, and is told only if nobody was quicker.
COUNTER = """
import sys
from pathlib import Path
from events.log import Conflict, Log
from events.types import MoveRequested, PauseRequested
path, me, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
log = Log(path, f"counter{me}")
sys.stdin.readline()
refused = 0
while times:
    seen = log.head()
    newest = log.newest(MoveRequested)
    value = int(newest.event.sha256) if newest else 0
    try:
        log.append(MoveRequested(sha256=str(value + 1), priority=me), unless=(MoveRequested,), after=seen)
        times -= 1
    except Conflict:
        refused += 1
    log.append(PauseRequested())
print(refused)
"""


def test_four_processes_count_together_and_no_number_is_lost_or_told_twice(tmp_path: Path) -> None:
    path, times = tmp_path / "log.sqlite", 12
    log = Log(path, "test", create=True)
    counters = [child(COUNTER, path, me, times) for me in range(4)]
    for counter in counters:
        assert counter.stdin is not None
        counter.stdin.write("go\n")
        counter.stdin.flush()
    refused = [int(counter.communicate(timeout=100)[0]) for counter in counters]
    told = [recorded.event for recorded in log.read(types=(MoveRequested,))]

    assert [0, 0, 0, 0] == [counter.returncode for counter in counters]  # no lock error either
    assert [str(n) for n in range(1, 4 * times + 1)] == [event.sha256 for event in told]
    assert {str(me): times for me in range(4)} == Counter(event.priority for event in told)
    assert sum(refused) > 0  # they did meet
    assert 4 * times + sum(refused) == sum(1 for _ in log.read(types=(PauseRequested,)))
    log.close()
