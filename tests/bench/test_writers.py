"""Four processes that decide and append: each one's share, its waits, and that nobody's update is lost.

BENCH_SECONDS: for how long (20).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.logbook import open_log
from db.workspace import Workspace
from events.types import MoveRequested
from events.verify import verify_log
from tests.bench.table import tell, tell_of

ROOT = Path(__file__).parents[2]
SECONDS = float(os.environ.get("BENCH_SECONDS", 20))
PROCESSES, RATE = 4, 20  # a second, each

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]

#: At each tick: look, decide, append under the condition that nobody was quicker, until it is done; a tick
#: that came too late is left out. Steps in between, with their curves, as a trainer would append them.
APPENDER = """
import json, sys, time
from pathlib import Path
from core.logbook import open_log
from db.workspace import Workspace
from events.log import Conflict
from events.types import MoveRequested, StepsCompleted
place, me, rate, seconds = Workspace(Path(sys.argv[1])), *map(float, sys.argv[2:])
log = open_log(place, f"appender{me:g}")
sys.stdin.readline()
began, done, conflicts, waits = time.monotonic(), 0, 0, []
for tick in range(int(rate * seconds)):
    due = began + (tick + me / 4) / rate
    if time.monotonic() > due + 1 / rate:
        continue
    time.sleep(max(0.0, due - time.monotonic()))
    asked = time.monotonic()
    while True:
        seen, newest = log.head(), log.newest(MoveRequested)
        value = int(newest.event.sha256) if newest else 0
        try:
            fact = MoveRequested(sha256=str(value + 1), priority=f"{me:g}")
            log.append(fact, unless=(MoveRequested,), after=seen)
            break
        except Conflict:
            conflicts += 1
    waits.append(time.monotonic() - asked)
    done += 1
    if tick % rate == 0:
        at = 1 + 64 * tick
        log.append(StepsCompleted(run=f"r{me:g}", attempt=1, first_step=at, first_global_step=at, n=64,
                                  columns={"loss": [1 / (1 + i) for i in range(64)]}))
print(json.dumps({"done": done, "conflicts": conflicts, "waits": waits}))
"""


def test_four_processes_have_their_share(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    place.lay_out()
    log = open_log(place, "test", create=True)
    children = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", APPENDER, str(place.root), str(me), str(RATE), str(SECONDS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        for me in range(PROCESSES)
    ]  # fmt: skip
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    found = [json.loads(child.communicate(timeout=30 + 5 * SECONDS)[0]) for child in children]
    done = [each["done"] for each in found]
    waits = sorted(wait for each in found for wait in each["waits"])
    shares = [each / (sum(done) / PROCESSES) for each in done]
    p99 = round(waits[int(len(waits) * 0.99)] * 1e3, 1)
    conflicts = sum(each["conflicts"] for each in found)
    planned = round(min(done) / (RATE * SECONDS), 3)
    tell_of("4 processes under conditions", "smallest >= 0.5 of fair", shares, unit="share",
            of_planned=planned, conflicts=conflicts)  # fmt: skip
    tell("decided and appended in", "-", waits, p99_ms=p99)
    numbers = [recorded.event.sha256 for recorded in log.read(types=(MoveRequested,))]

    assert [0] * PROCESSES == [child.returncode for child in children]
    assert [str(n) for n in range(1, sum(done) + 1)] == numbers  # no update is lost
    assert () == verify_log(log.reader).problems
    log.close()
