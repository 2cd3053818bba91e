"""The documents: queue, versions, crashes, events in the contract's shapes, for pages and commands alike."""

from typing import Any

import msgspec

from events.codec import encode
from events.types import Recorded
from projections.crashes import Crash
from projections.fold import State
from projections.queue import PRIORITIES, Entry
from projections.status import iso
from projections.versions import Version


def waiting(state: State) -> list[Entry]:
    """What is to come, next first; files still being checked stand behind their level."""
    found = []
    checking = [e for e in state.queue.entries.values() if e.state == "validating"]
    for level in PRIORITIES:
        found += [state.queue.entries[sha256] for sha256 in state.queue.level(level)]
        found += sorted((e for e in checking if e.priority == level), key=lambda e: e.since)
    return found


def ended(state: State) -> list[Entry]:
    """Every file that ended, the newest first."""
    done = [e for e in state.queue.entries.values() if e.state not in ("waiting", "validating", "processing")]
    return sorted(done, key=lambda e: e.since, reverse=True)


def queue(state: State) -> list[dict[str, Any]]:
    """What trains, what waits, what ended, every duplicate."""
    running = [state.queue.entries[state.queue.processing]] if state.queue.processing else []
    rows: list[dict[str, Any]] = [
        {
            "file": entry.name,
            "sha256": entry.sha256,
            "priority": entry.priority,
            "state": entry.state,
            "rows": entry.rows,
            "trainable_tokens": entry.trainable_tokens,
            "attempts": entry.attempts,
            "position": state.queue.position(entry.sha256),
            "reason": entry.reason,
        }
        for entry in [*running, *waiting(state), *ended(state)]
    ]
    for copy in sorted(state.inbox.duplicates.values(), key=lambda copy: copy.seq, reverse=True):
        known = state.queue.entries.get(copy.sha256)
        rows.append(
            {
                "file": copy.name,
                "sha256": copy.sha256,
                "priority": known.priority if known else None,
                "state": "duplicate",
                "rows": None,
                "trainable_tokens": None,
                "attempts": 0,
                "position": None,
                "reason": f"the same bytes as {copy.same_as}",
            }
        )
    return rows


def version(state: State, one: Version) -> dict[str, Any]:
    """One version."""
    return {
        "id": one.id,
        "created_at": iso(one.created_at),
        "parent": one.parent,
        "run": one.run,
        "file": one.file,
        "file_sha256": one.file_sha256,
        "global_step": one.global_step,
        "loss": one.loss,
        "validation_loss": one.validation_loss,
        "fixed_validation_loss": one.fixed_validation_loss,
        "size_bytes": one.size_bytes,
        "current": one.id == state.versions.current,
        "pinned": one.pinned,
        "log_seq": one.log_seq,
        "log_hash": one.log_hash,
        "kind": one.kind,
        "state": one.state,
    }


def versions(state: State) -> list[dict[str, Any]]:
    """Every version whose files are kept, oldest first."""
    return [version(state, one) for one in state.versions]


def crash(one: Crash) -> dict[str, Any]:
    """One crash in the shape of the contract."""
    return {
        "id": one.id,
        "at": iso(one.at),
        "process": one.role,
        "cause": one.cause,
        "category": one.category,
        "advice": one.meaning.advice,
        "signal": one.signal,
        "exit_code": one.exit_code,
        "seq": one.seq,
    }


def crash_report(one: Crash) -> dict[str, Any]:
    """The same with all of its evidence."""
    return crash(one) | {
        "signature": one.signature,
        "error": one.error,
        "phase": one.phase,
        "run": one.run,
        "step": one.step,
        "frames": list(one.frames),
        "resources": dict(sorted(one.resources.items())),
        "state_before": one.seq - 1,
    }


def event(recorded: Recorded) -> dict[str, Any]:
    """One fact; numbers JSON cannot hold are null, and `nonfinite` in the data names their place and kind."""
    return {
        "seq": recorded.seq,
        "at": iso(recorded.at),
        "actor": recorded.actor,
        "stream": recorded.stream,
        "type": type(recorded.event).__name__,
        "causation": recorded.causation,
        "correlation": recorded.correlation,
        "data": msgspec.json.decode(encode(recorded.event)),
    }
