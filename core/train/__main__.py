"""The trainer process: `python -P -m core.train --workspace DIR`, started while a run is open."""

from core.names import OURS, refuse_strangers

refuse_strangers()

import argparse  # noqa: E402  (the names come first)
import errno  # noqa: E402
import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
import traceback  # noqa: E402
from pathlib import Path  # noqa: E402

from db.processes import RoleLock, RoleTaken, Stop, die_with_parent  # noqa: E402
from db.workspace import Workspace  # noqa: E402

IDLE_SECONDS = 20.0
ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Exit code 0: nothing more to do; 1: an error, told in the notes; 3: another trainer is there."""
    parser = argparse.ArgumentParser(prog="python -P -m core.train", description=__doc__)
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--idle-seconds", type=float, default=IDLE_SECONDS)
    given = parser.parse_args()
    die_with_parent()
    stop = Stop().install()
    workspace = Workspace(given.workspace.resolve())
    os.environ.update(workspace.environment())
    try:
        with RoleLock(workspace.locks, "trainer"):
            return serve(workspace, stop, given.idle_seconds)
    except RoleTaken as error:
        print(error, file=sys.stderr)
        return 3


def serve(workspace: Workspace, stop: Stop, idle_seconds: float) -> int:
    """Open the log, say that we live, then import torch: that takes seconds."""
    from core.logbook import follow, open_log
    from events.heartbeat import Heartbeat

    log = open_log(workspace, "trainer")
    heartbeat = Heartbeat(log, "trainer")
    heartbeat.beat("load", now=time.monotonic())
    try:
        from core.train.record import Recorder
        from core.train.service import Service

        recorder = Recorder(log, heartbeat)
        try:
            Service(workspace, log, follow(log), recorder, stop).work(idle_seconds)
        finally:
            recorder.close()
        heartbeat.gone()
        log.close()
    except Exception as error:
        leave_note(workspace, error)
        return 1
    return 0


def leave_note(workspace: Workspace, error: Exception) -> None:
    """One line for the watchdog: what and where in our code; the message only where it can quote no row."""
    from core.train.refusals import Refused

    place = "?"
    for frame in traceback.extract_tb(error.__traceback__):
        file = Path(frame.filename)
        if file.is_relative_to(ROOT) and file.relative_to(ROOT).parts[0] in OURS:
            place = f"{file.relative_to(ROOT)}:{frame.lineno}"
    line = f"{type(error).__name__} at {place}"
    if isinstance(error, Refused):
        line += f": {error}"
    elif isinstance(error, OSError) and error.errno:
        line += f": {errno.errorcode.get(error.errno, error.errno)}"
    workspace.notes.mkdir(parents=True, exist_ok=True, mode=0o700)
    (workspace.notes / f"trainer-{os.getpid()}.txt").write_text(line + "\n", encoding="utf-8")
    print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
