"""Asking: append one request, let its owner act (or act oneself when nobody is there), tell the answer."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from core.cli.terms import FAILED, REFUSED, USAGE, fail, open_cli_log, show

if TYPE_CHECKING:
    from db.workspace import Workspace
    from events.log import Log
    from events.types import Event, Recorded
    from projections.fold import State


def ask(
    given: Path | None,
    fact: "Event",
    *,
    as_json: bool,
    wait: bool = False,
    timeout: float = 60.0,
    acts_alone: bool = True,
    quiet: bool = False,
) -> None:
    """One request. `acts_alone`: with no service on the workspace the work is done here and now.

    `quiet`: part of another command, whose own document is the only one on stdout.
    """
    workspace, log = open_cli_log(given)
    (seq,) = log.append(fact)
    alone, short = act(workspace, log) if acts_alone else (False, None)
    answer = answer_to(log, seq)
    if answer is None and short is not None:
        fail(f"{short} in the next service; request #{seq} stays in the log", FAILED)
    if answer is None and wait:
        if alone or not _somebody(workspace):
            fail(
                f"request #{seq} is in the log, but no service runs on {workspace.root} to act on it", REFUSED
            )
        answer = _await(log, seq, timeout)
        if answer is None:
            fail(f"request #{seq} was not acted on within {timeout:g} s; it stays in the log", REFUSED)
    _tell(seq, fact, answer, as_json, quiet)


def act(workspace: "Workspace", log: "Log") -> tuple[bool, str | None]:
    """Do the daemon's part with its lock, if nobody has it. Was it done, and what found no space?"""
    from core.jobs.arrange import arrange
    from core.jobs.backup import backup
    from core.jobs.consolidation import answer_consolidation
    from core.jobs.disk import Disk
    from core.jobs.dispatch import answer
    from core.jobs.service import Service
    from core.jobs.versions import keep_versions
    from db.processes import RoleLock, RoleTaken
    from db.reserve import NoRoom

    def back_up(service: Service) -> None:
        while service.state().control.first("BackupRequested") is not None and backup(service):
            continue

    short = None
    try:
        with RoleLock(workspace.locks, "daemon").acquire():
            service = Service(workspace, log)
            disk = Disk(workspace)

            def clean(service: Service) -> None:
                if service.state().control.first("CleanRequested") is not None:
                    disk.care(service)

            for work in (answer, keep_versions, answer_consolidation, arrange, clean, back_up):
                try:
                    work(service)
                except NoRoom as error:  # what waits for space holds up nothing else
                    short = short or error.shortage
    except RoleTaken:
        return False, None
    return True, short


def _somebody(workspace: "Workspace") -> bool:
    from db.processes import holder

    # while the watchdog lives, a daemon that just died or has not begun yet will be there soon
    return any(holder(workspace.locks, role) is not None for role in ("watchdog", "daemon"))


def answer_to(log: "Log", request: int) -> "Recorded | None":
    """The fact that answers a request; one that only tells that the work began is none."""
    from projections.control import ANSWERS

    answers = log.read(request, types=ANSWERS)
    return next((one for one in answers if getattr(one.event, "request", None) == request), None)


def _await(log: "Log", request: int, timeout: float) -> "Recorded | None":
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if (answer := answer_to(log, request)) is not None:
            return answer
        time.sleep(0.1)
    return None


def _tell(seq: int, fact: "Event", answer: "Recorded | None", as_json: bool, quiet: bool) -> None:
    from events.types import BackupFailed, DiskCleaned, RequestRefused

    asked = type(fact).__name__
    if answer is not None and isinstance(answer.event, RequestRefused):
        fail(f"{asked.removesuffix('Requested').lower()} refused: {answer.event.reason}", REFUSED)
    if answer is not None and isinstance(answer.event, BackupFailed):
        fail(f"the backup {answer.event.backup} failed: {answer.event.reason}", FAILED)
    if quiet:
        return
    document: dict[str, Any] = {
        "request": seq,
        "type": asked,
        "answer": {"seq": answer.seq, "type": type(answer.event).__name__} if answer is not None else None,
    }
    done = f"{document['type']} #{seq}" + (
        f" → {type(answer.event).__name__} #{answer.seq}" if answer is not None else ": recorded"
    )
    if answer is not None and isinstance(answer.event, DiskCleaned):
        document["freed_bytes"], document["kinds"] = answer.event.freed_bytes, answer.event.kinds
        done += f": {answer.event.freed_bytes:,} bytes freed"
    show(document, as_json, lambda _: done)


def resolve(state: "State", given: str) -> str:
    """The sha256 of the file meant: a name, an original relative name, or ≥ 6 hex digits; else exit 2."""
    files = state.inbox.files.values()
    exact = [f.sha256 for f in files if given in (f.name, f.original)]
    found = list(dict.fromkeys(exact))
    if not found and len(given) >= 6 and all(c in "0123456789abcdef" for c in given.lower()):
        found = [f.sha256 for f in files if f.sha256.startswith(given.lower())]
    if len(found) == 1:
        return found[0]
    if not found:
        fail(f"no file is called {given!r}, nor does a hash begin so: see `evertrain queue list`", USAGE)
    _ambiguous(state, given, found)


def _ambiguous(state: "State", given: str, found: list[str]) -> NoReturn:
    candidates = ", ".join(f"{state.inbox.files[sha].name} ({sha[:12]})" for sha in found)
    fail(f"{given!r} may mean several files: {candidates}", USAGE)
