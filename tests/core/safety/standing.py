"""A child that works, then stands still: `-m tests.core.safety.standing WORKSPACE ROLE PHASE WAY [SECONDS]`.

Only the first of its kind stands still; those that are started after it work for ever. SECONDS: of a turn.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from core.logbook import open_log
from db.processes import Stop, die_with_parent, show_places_when_asked
from db.workspace import Workspace
from events.heartbeat import Heartbeat
from events.log import Log
from events.types import StepsCompleted

TURNS = 5  # before it stands still
SLOWER = 10


def main(root: str, role: str, phase: str, way: str, seconds: str = "0.2") -> None:
    die_with_parent()
    workspace, turn = Workspace(Path(root)), float(seconds)
    is_first = not (seen := workspace.private / f"{role}-was-here").exists()
    seen.touch()
    stop = Stop().install()
    if way == "unheard" and is_first:  # before it could say anything
        time.sleep(1000)
    show_places_when_asked()
    log = open_log(workspace, role)
    threading.Thread(target=keep_busy, daemon=True).start()
    heart, turns = Heartbeat(log, role, every=0.0), 0
    while not stop:
        heart.beat(phase, turns, now=time.monotonic())
        turns += 1
        if turns == TURNS and is_first:
            stand_still(way, log)
        time.sleep(turn * (SLOWER if way == "slow" and turns > 10 * TURNS else 1))
        if way == "slow":
            log.append(steps(turns, turn))


def steps(turns: int, seconds: float) -> StepsCompleted:
    """What a step leaves in the log, with how long it took."""
    columns: dict[str, list[float | int | None]] = {"loss": [1.0], "tokens": [1], "seconds": [seconds]}
    return StepsCompleted(
        run="r1", attempt=1, first_step=turns, first_global_step=turns, n=1, columns=columns
    )


def keep_busy() -> None:
    """A side thread that lives on while the main one stands still."""
    while True:
        time.sleep(0.05)


def stand_still(way: str, log: Log) -> None:
    match way:
        case "blocked":
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()
        case "deaf":  # SIGTERM changes nothing, and it has a child of its own in another session
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            program = "import time; time.sleep(1000)"
            subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
            subprocess.Popen([sys.executable, "-c", program], env={})
            time.sleep(1000)
        case "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "stopped in a transaction":
            with log.transaction():
                os.kill(os.getpid(), signal.SIGSTOP)


if __name__ == "__main__":
    main(*sys.argv[1:])
