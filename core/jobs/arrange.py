"""Arrange: the queue folders show the log's state; every move ends in a fact."""

import contextlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from core.files import fsync_folder, move, sha256_of, write_atomic
from core.jobs.poll import arrival_name, arriving
from core.jobs.service import Service
from events.types import DriftFound, FileLost, FilePlaced
from projections import checks
from projections.fold import State
from projections.inbox import Duplicate
from projections.queue import Entry, folder


def arrange(service: Service) -> None:
    """Move each file to where its state says; finishes what a crash cut short."""
    with service.places:
        state = service.state()
        moves: list[Callable[[], None]] = [
            partial(_settle, service, state, state.queue.entries[sha256]) for sha256 in state.queue.unsettled
        ]
        moves += [
            partial(_settle_duplicate, service, copy)
            for copy in state.inbox.duplicates.values()
            if copy.placed is None
        ]
        failed: OSError | None = None
        for one in moves:
            try:
                one()
            except OSError as error:        # one file that cannot be moved must not hold up the others
                failed = failed or error
        if failed is not None:
            raise failed


def sweep(service: Service) -> None:
    """At start: drop copies that no fact speaks of (their source still lies where it was)."""
    state, place = service.state(), arriving(service)
    known = set(state.queue.unsettled) | {
        arrival_name(c) for c in state.inbox.duplicates.values() if not c.placed
    }
    for path in place.iterdir() if place.is_dir() else ():
        if path.name not in known:
            path.unlink()
    for leftover in service.workspace.tokens.glob(".*.partial"):
        shutil.rmtree(leftover)              # a check that was killed; the next one begins anew


def _settle(service: Service, state: State, entry: Entry) -> None:
    root = service.workspace.root
    target = root / folder(entry) / entry.name
    sources = [root / entry.placed] if entry.placed is not None else []
    source = next((p for p in [*sources, arriving(service) / entry.sha256] if p.exists()), None)
    if source is None and not (target.exists() and sha256_of(target) == entry.sha256):
        where = entry.placed or service.workspace.relative(target)
        service.append(
            FileLost(sha256=entry.sha256, path=where),
            DriftFound(
                kind="file_missing",
                path=where,
                detail=f"the bytes of {entry.name} are not on disk",
                remedy="its tokens are trained on as long as they are stored; for a retry drop it again",
            ),
        )
        return
    if source is not None:
        if entry.placed is not None and entry.placed.startswith("queue/failed/"):
            _report_path(root / entry.placed).unlink(missing_ok=True)
        target = _move(source, target, entry.sha256)
    if folder(entry) == "queue/failed":
        _write_report(_report_path(target), _report(service, state, entry))
    service.append(FilePlaced(sha256=entry.sha256, path=service.workspace.relative(target)))


def _settle_duplicate(service: Service, copy: Duplicate) -> None:
    target = service.workspace.queue / "failed" / copy.name
    source = arriving(service) / arrival_name(copy)
    if source.exists():
        target = _move(source, target, copy.sha256)
    report = {
        "file": copy.name,
        "original": copy.original,
        "sha256": copy.sha256,
        "state": "duplicate",
        "reason": f"the same bytes as {copy.same_as}",
        "next": f"to train them again: evertrain queue retry {copy.same_as}",
    }
    _write_report(_report_path(target), report)
    path = service.workspace.relative(target)
    service.append(FilePlaced(sha256=copy.sha256, path=path, duplicate=copy.seq))


def _move(source: Path, target: Path, sha256: str) -> Path:
    """Move there, or beside it when a stranger has the name; never over anything."""
    try:
        move(source, target)
    except FileExistsError:
        if target.samefile(source) or sha256_of(target) == sha256:
            source.unlink()  # the crash came between the link and the removal
            fsync_folder(source.parent)
            return target
        target = target.with_name(f"{target.stem}-{sha256[:8]}{target.suffix}")
        if target.exists() and sha256_of(target) == sha256:
            source.unlink()
        else:
            move(source, target)
    return target


def _report_path(file: Path) -> Path:
    return file.with_name(f"{file.name}.report.json")


def report_cache(service: Service, sha256: str) -> Path:
    """Where the check leaves its full report until the file is placed; without it the facts serve."""
    return service.workspace.temporary / f"report-{sha256}.json"


def _report(service: Service, state: State, entry: Entry) -> dict[str, Any]:
    file = state.inbox.files[entry.sha256]
    cached = checks.check(file) or {}
    with contextlib.suppress(FileNotFoundError, ValueError):
        cached |= json.loads(report_cache(service, entry.sha256).read_text(encoding="utf-8"))
    return cached | {
        "file": entry.name,
        "original": file.original,
        "sha256": entry.sha256,
        "state": entry.state,
        "reason": entry.reason,
        "attempts": entry.attempts,
        "rows": file.rows,
        "accepted_rows": file.accepted_rows,
        "dropped_rows": file.dropped_rows,
        "counts": dict(sorted(file.counts.items())),
        "next": f"evertrain queue retry {entry.name}",
    }


def _write_report(path: Path, report: dict[str, Any]) -> None:
    write_atomic(path, (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())
