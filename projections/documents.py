"""The documents: queue, versions, crashes, events in the contract's shapes, for pages and commands alike."""

from typing import Any

import msgspec

from events.codec import encode
from events.types import Event, StepsCompleted, Stored
from projections import lineage
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
    places = state.queue.positions()
    rows: list[dict[str, Any]] = [
        {
            "file": entry.name,
            "sha256": entry.sha256,
            "priority": entry.priority,
            "state": entry.state,
            "rows": entry.rows,
            "trainable_tokens": entry.trainable_tokens,
            "attempts": entry.attempts,
            "position": places.get(entry.sha256),
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


def version_tree(state: State, one: Version) -> dict[str, Any]:
    """Where a version stands in history: `ancestors` (parent first) and `children`, as ids, and what it is
    made of: files, rows, settings and order of every run of its line.
    """
    return {
        "ancestors": list(state.versions.ancestors(one.id)[1:]),
        "children": list(state.versions.children(one.id)),
        "made_of": lineage.made_of(state, one.id),
    }


def versions_diff(state: State, a: Version, b: Version) -> dict[str, Any]:
    """What lies between two versions, as far as the log knows.

    `common`: the newest version both descend from. `config`: key → [of a, of b], where their runs differ.
    `data`: the files between them in the tree, the oldest first, each with the side that was trained on it:
    "a" (in a, not in b) or "b". `metrics`: name → {a, b, change}; change is null where one is unknown.
    """
    line_a, line_b = state.versions.ancestors(a.id), state.versions.ancestors(b.id)
    configs = [state.run.runs[one.run].config if one.run in state.run.runs else {} for one in (a, b)]
    only_a = [("a", name) for name in line_a if name not in line_b]
    only_b = [("b", name) for name in line_b if name not in line_a]
    between = sorted(only_a + only_b, key=lambda pair: state.versions.versions[pair[1]].published)
    return {
        "a": version(state, a),
        "b": version(state, b),
        "common": next((name for name in line_a if name in line_b), None),
        "config": {
            key: [config.get(key) for config in configs]
            for key in sorted(configs[0].keys() | configs[1].keys())
            if configs[0].get(key) != configs[1].get(key)
        },
        "data": [
            _trained(state, side, state.versions.versions[name])
            for side, name in between
            if state.versions.versions[name].kind == "run"
        ],
        "metrics": {
            name: _change(getattr(a, name), getattr(b, name))
            for name in ("global_step", "loss", "validation_loss", "size_bytes")
        },
    }


def _trained(state: State, side: str, one: Version) -> dict[str, Any]:
    run = state.run.runs.get(one.run)
    return {
        "side": side,
        "version": one.id,
        "file": one.file,
        "sha256": one.file_sha256,
        "rows": run.rows if run is not None else None,
        "epochs": run.epochs if run is not None else None,
        "tokens": run.tokens if run is not None else None,
        "trained_tokens": run.trained_tokens if run is not None else None,
    }


def _change(a: float | None, b: float | None) -> dict[str, float | None]:
    return {"a": a, "b": b, "change": b - a if a is not None and b is not None else None}


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


def event(recorded: Stored) -> dict[str, Any]:
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


def steps(event: Event) -> list[dict[str, Any]]:
    """The single steps of `StepsCompleted`, each with its columns; of any other fact none."""
    if not isinstance(event, StepsCompleted):
        return []
    return [
        {"step": event.first_step + n, "global_step": event.first_global_step + n}
        | {name: values[n] for name, values in event.columns.items()}
        for n in range(event.n)
    ]
