"""The trainer process: `python -P -m core.train --workspace DIR`, started while a run is open."""

from core.names import refuse_strangers

refuse_strangers()

import argparse  # noqa: E402  (the names come first)
import gc  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

from core.decide.crash import PHRASES  # noqa: E402
from db.notes import leave_note  # noqa: E402
from db.processes import RoleLock, RoleTaken, Stop, die_with_parent, show_places_when_asked  # noqa: E402
from db.workspace import Workspace  # noqa: E402

IDLE_SECONDS = 20.0
ROLE_SECONDS = 1.0


def main() -> int:
    """Exit code 0: nothing more to do; 1: an error, told in the notes; 3: another trainer is there."""
    parser = argparse.ArgumentParser(prog="python -P -m core.train", description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--idle-seconds", type=float, default=IDLE_SECONDS)
    given = parser.parse_args()
    die_with_parent()
    show_places_when_asked()
    stop = Stop().install()
    workspace = Workspace(given.workspace.resolve())
    os.environ.update(workspace.environment())
    try:
        with take_role(workspace):
            return serve(workspace, stop, given.idle_seconds)
    except RoleTaken as error:
        print(error, file=sys.stderr)
        return 3


def take_role(workspace: Workspace) -> RoleLock:
    """The trainer's lock. The daemon holds it for moments, to answer in our place: that is waited for."""
    until = time.monotonic() + ROLE_SECONDS
    while True:
        try:
            return RoleLock(workspace.locks, "trainer").acquire()
        except RoleTaken:
            if time.monotonic() > until:
                raise
            time.sleep(0.02)


def serve(workspace: Workspace, stop: Stop, idle_seconds: float) -> int:
    """Open the log, say that we live, then import torch: that takes seconds."""
    from core.logbook import follow, open_log
    from events.heartbeat import Heartbeat

    log = open_log(workspace, "trainer")
    log.room.patience = lambda: not stop.event.wait(1.0)  # what was trained is in memory: it waits for space
    heartbeat = Heartbeat(log, "trainer")
    heartbeat.beat("load", now=time.monotonic())
    try:
        with leave_note(workspace.notes, "trainer", PHRASES):
            from core.train.record import Recorder
            from core.train.service import Service

            gc.freeze()  # what imports bring in is never garbage: no collection goes through it again
            recorder = Recorder(log, heartbeat)
            try:
                Service(workspace, log, follow(log), recorder, stop).work(idle_seconds)
            finally:
                recorder.close()
    except Exception as error:
        # the note has the place; a message might quote a row, so it goes nowhere
        print(f"the trainer ends: {type(error).__name__}", file=sys.stderr)
        return 1
    heartbeat.gone()
    log.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
