"""The daemon: `python -P -m core.jobs --workspace DIR`; started and watched by the watchdog."""

import argparse
import os
import sys
import time
from pathlib import Path

from core.decide import idle
from core.decide.crash import PHRASES
from core.intake.checker import Checker
from core.jobs.arrange import arrange, sweep
from core.jobs.publish import show_current
from core.jobs.retention import retention
from core.jobs.service import Service
from core.jobs.showing import StatusFile
from core.jobs.table import Inbox, Job, jobs, run, schedule
from core.logbook import open_log
from db.notes import leave_note
from db.processes import RoleLock, RoleTaken, Stop, die_with_parent, show_places_when_asked
from db.reserve import is_full
from db.workspace import Workspace

#: Exit codes that carry a verdict of `--until-idle` to the watchdog.
VERDICT = 100
LOCK_SECONDS = 10.0  # a command may be at work for a moment
HALTED_SECONDS = 60.0


def main() -> int:
    """Work until SIGTERM, or until idle."""
    die_with_parent()
    show_places_when_asked()
    parser = argparse.ArgumentParser()
    parser.add_argument("--workspace", type=Path, required=True)
    parser.add_argument("--until-idle", action="store_true")
    given = parser.parse_args()
    workspace = Workspace(given.workspace)
    with leave_note(workspace.notes, "daemon", PHRASES):
        lock = _lock(workspace)
        stop = Stop().install()
        log = open_log(workspace, "daemon")
        service = Service(workspace, log, stop.event, Checker(workspace.environment()))
        for name, work in (("sweep", sweep), ("arrange", arrange), ("current model", show_current)):
            run(service, Job(name, 0.0, work))  # what cannot be finished now is told, and tried again later
        inbox = Inbox()
        since = log.head()
        scheduler = schedule(service, jobs(service, inbox))
        code = _wait(service, stop, inbox, since, until_idle=given.until_idle)
        run(service, Job("retention", 0.0, retention))  # of what was published last; not once it is stopped
        stop.event.set()
        scheduler.shutdown(wait=True)
        for work in (_gone, StatusFile().write):
            try:
                work(service)
            except OSError as error:
                if not is_full(error):  # the next start does it
                    raise
        log.close()
        lock.release()
    return code


def _gone(service: Service) -> None:
    service.log.beat("daemon", os.getpid(), "gone")


def _lock(workspace: Workspace) -> RoleLock:
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return RoleLock(workspace.locks, "daemon").acquire()
        except RoleTaken:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _wait(service: Service, stop: Stop, inbox: Inbox, since: int, *, until_idle: bool) -> int:
    quiet_since = time.monotonic()
    while not stop.event.wait(0.5):
        if not until_idle:
            continue
        state = service.state()
        if not idle.is_halted(state):
            quiet_since = time.monotonic()
        code = idle.verdict(state, since, inbox_empty=inbox.empty)
        if code is None and time.monotonic() - quiet_since > HALTED_SECONDS:
            code = idle.HALTED
        if code is not None:
            return VERDICT + code
    return 0


if __name__ == "__main__":
    sys.exit(main())
