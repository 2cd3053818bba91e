"""Validate: the one check of every file that came in, whose accepted rows become tokens on disk."""

import json

from core.files import write_atomic
from core.intake.report import Report
from core.intake.validate import examine
from core.jobs.arrange import report_cache
from core.jobs.service import Service
from core.space import ensure_room
from events.log import Conflict
from events.types import Event, FileQueued, FileRejected, FileRemoved, FileReprioritized, FileValidated

#: Of a token store, by byte of text: five for each token, which is rarely shorter than three characters.
TOKEN_BYTES = 2


class Interrupted(Exception):
    """The service stops: the check is done again at the next start."""


def validate(service: Service) -> bool:
    """Check the file that has waited longest. True: there was one."""
    state = service.state()
    unchecked = [
        entry
        for entry in state.queue.entries.values()
        if entry.state == "validating" and entry.placed and (service.workspace.root / entry.placed).exists()
    ]
    if not unchecked:
        return False
    entry = min(unchecked, key=lambda e: e.since)
    facts = check(service, entry.sha256)
    if not facts:
        return False  # moved by hand a moment ago: the poll finds it
    try:
        service.append(*facts, unless=(FileRemoved, FileReprioritized), after=state.seq)
    except Conflict:
        return True  # removed or moved meanwhile: the store is there, the next look is quick
    return True


def validate_all(service: Service) -> None:
    """Check every file that waits for it."""
    while not service.stop.is_set() and validate(service):
        pass


def check(service: Service, sha256: str) -> list[Event]:
    """Examine a file where it lies: validated and queued, or rejected. An error inside the check rejects."""
    entry = service.state().queue.entries[sha256]
    assert entry.placed is not None
    size = service.state().inbox.files[sha256].size_bytes
    ensure_room(service.workspace, f"the tokens of {entry.name}", TOKEN_BYTES * size)
    try:
        report = examine(
            service.workspace.root / entry.placed,
            sha256=sha256,
            renderer=service.renderer(),
            settings=service.settings(),
            store=service.workspace.tokens,
            progress=lambda *_: _go_on(service),
        )
    except FileNotFoundError:
        return []  # moved by hand a moment ago: the poll sees it
    if not report.is_accepted:
        report_json = {k: v for k, v in report.as_json().items() if k != "file"}
        write_atomic(report_cache(service, sha256), json.dumps(report_json).encode(), durable=False)
        return [rejected(sha256, report)]
    return [validated(sha256, report), FileQueued(sha256=sha256, priority=entry.priority)]


def _go_on(service: Service) -> None:
    if service.stop.is_set():
        raise Interrupted


def rejected(sha256: str, report: Report) -> FileRejected:
    """The check's verdict as a fact."""
    return FileRejected(
        sha256=sha256,
        format=report.format,
        rows=report.rows,
        accepted_rows=report.accepted_rows,
        dropped_rows=report.dropped_rows,
        counts=report.counts,
        reason=report.reason or "",
    )


def validated(sha256: str, report: Report) -> FileValidated:
    """The check's verdict as a fact."""
    return FileValidated(
        sha256=sha256,
        verdict=report.verdict,
        format=report.format,
        rows=report.rows,
        accepted_rows=report.accepted_rows,
        dropped_rows=report.dropped_rows,
        tokens=report.tokens,
        trainable_tokens=report.trainable_tokens,
        counts=report.counts,
        warnings=report.warnings,
        store=report.store or "",
        seconds=report.seconds,
    )
