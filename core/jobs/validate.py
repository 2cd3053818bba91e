"""Validate: the one check of every file that came in, whose accepted rows become tokens on disk."""

import json

from core.decide.estimate import tokens_per_second
from core.decide.intake import trained_stores
from core.files import write_atomic
from core.intake.report import Report
from core.intake.validate import Past
from core.jobs.arrange import report_cache
from core.jobs.service import Service
from core.space import ensure_room
from db.workspace import Workspace
from events.log import Conflict, Log
from events.types import (
    Event,
    FileQueued,
    FileRejected,
    FileRemoved,
    FileReprioritized,
    FileValidated,
    StepsCompleted,
)
from projections.fold import State

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
    if service.checker is not None:
        service.checker.rest()


def check(service: Service, sha256: str) -> list[Event]:
    """Examine a file where it lies: validated and queued, or rejected. An error inside the check rejects."""
    entry = service.state().queue.entries[sha256]
    assert entry.placed is not None
    size = service.state().inbox.files[sha256].size_bytes
    ensure_room(service.workspace, f"the tokens of {entry.name}", TOKEN_BYTES * size)
    try:
        report = service.examine(
            service.workspace.root / entry.placed,
            sha256=sha256,
            progress=lambda *_: _go_on(service),
            past=past(service.state(), service.log, service.workspace, sha256),
        )
    except FileNotFoundError:
        return []  # moved by hand a moment ago: the poll sees it
    if not report.is_accepted:
        report_json = {k: v for k, v in report.as_json().items() if k != "file"}
        write_atomic(report_cache(service, sha256), json.dumps(report_json).encode(), durable=False)
        return [rejected(sha256, report)]
    return [validated(sha256, report), FileQueued(sha256=sha256, priority=entry.priority)]


def past(state: State, log: Log, workspace: Workspace, sha256: str) -> Past:
    """What the check of this file is set beside: the tokens of trained files, and the speed of the steps."""
    stores = tuple(workspace.tokens / store for store in trained_stores(state, sha256))
    newest = log.newest(StepsCompleted)
    steps = newest.event if newest is not None and isinstance(newest.event, StepsCompleted) else None
    return Past(stores, tokens_per_second(steps))


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
        lines=report.lines,
        lengths=report.lengths,
        max_length=report.max_length,
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
        lines=report.lines,
        lengths=report.lengths,
        max_length=report.max_length,
        trained_before=report.trained_before,
        estimated_steps=report.estimated_steps,
        estimated_seconds=report.estimated_seconds,
    )
