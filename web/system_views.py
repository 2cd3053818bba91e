"""The views of the machine and its processes: who runs, on what, under which settings, what is wrong."""

import os
from typing import Any

from events.types import AttemptStarted, ConfigChanged, FixedSetChecked, ProcessRestarted, Recorded
from projections.status import ROLES, iso
from web import views
from web.present import Now, Seen

CHANGES_SHOWN = 12
RESTARTS_READ = 200


def document(seen: Seen, now: Now) -> dict[str, Any]:
    """Everything the page shows."""
    state, beats = now.state, now.document["processes"]
    restarts = [r.event.role for r in seen.log.last(RESTARTS_READ, ProcessRestarted, to=seen.to)
                if isinstance(r.event, ProcessRestarted)]  # fmt: skip
    roles = [*ROLES, *sorted(set(state.health.processes) - set(ROLES))]
    return {
        "processes": [
            _process(state.health.processes.get(role), role, beats.get(role), restarts.count(role))
            for role in roles
        ],
        "gpu": now.document["gpu"], "ram": now.document["ram"], "disk": now.document["disk"],
        "config": dict(sorted(state.workspace.config.items())),
        "config_sha256": state.workspace.config_sha256, "config_seq": state.workspace.config_seq or None,
        "fixed_validation": _fixed(state.workspace.checked),
        "config_refused": list(state.workspace.refused),
        "config_changes": [
            _change(r) for r in reversed(seen.log.last(CHANGES_SHOWN, ConfigChanged, to=seen.to))
        ],
        "alerts": now.document["alerts"],
        "drifts": [
            {"seq": d.seq, "kind": d.kind, "path": d.path, "detail": d.detail, "remedy": d.remedy}
            for d in reversed(state.health.drifts)
        ],
        "software": _software(seen, now), "log": _log(seen, now),
    }  # fmt: skip


def _process(known: Any, role: str, beat: dict[str, Any] | None, restarts: int) -> dict[str, Any]:
    return {
        "role": role, "pid": beat["pid"] if beat else None, "phase": beat["phase"] if beat else None,
        "age_seconds": beat["age_seconds"] if beat else None, "state": known.state if known else None,
        "started_at": iso(known.started_at) if known and known.started_at else None,
        "crashes_in_a_row": known.crashes if known else 0, "restarts": restarts,
    }  # fmt: skip


def _fixed(checked: FixedSetChecked | None) -> dict[str, Any] | None:
    if checked is None:
        return None
    return {
        "path": checked.path, "sha256": checked.sha256, "rows": checked.rows,
        "usable_rows": checked.usable_rows, "trainable_tokens": checked.trainable_tokens,
        "usable": bool(checked.store), "problems": list(checked.problems),
    }  # fmt: skip


def _change(recorded: Recorded) -> dict[str, Any]:
    e = recorded.event
    assert isinstance(e, ConfigChanged)
    changes = {
        key: {"before": pair[0], "after": pair[1]}
        for key, pair in sorted(e.changes.items()) if isinstance(pair, list | tuple) and len(pair) == 2
    }  # fmt: skip
    return {"seq": recorded.seq, "at": iso(recorded.at), "by": recorded.actor, "changes": changes}


def _software(seen: Seen, now: Now) -> dict[str, str]:
    """Names and versions: of the newest trainer process, and of what made the workspace and holds the log."""
    created, newest = now.state.workspace.created, seen.log.newest(AttemptStarted, to=seen.to)
    found = dict(newest.event.software) if newest and isinstance(newest.event, AttemptStarted) else {}
    found["sqlite"] = str(seen.log.reader.execute("SELECT sqlite_version()").fetchone()[0])
    if created is not None:
        found["evertrain (made the workspace)"] = created.software
    return dict(sorted(found.items()))


def _log(seen: Seen, now: Now) -> dict[str, Any]:
    sizes: dict[str, int | None] = {"size_bytes": None, "wal_bytes": None}
    if seen.to is not None:  # of its file as it was then nothing is known
        return {"path": seen.workspace.log.name, "head": now.head, "folded_to": now.state.seq, **sizes}
    for name, ending in (("size_bytes", ""), ("wal_bytes", "-wal")):
        try:
            sizes[name] = os.stat(f"{seen.workspace.log}{ending}").st_size
        except FileNotFoundError:  # the write-ahead file goes and comes
            sizes[name] = 0
    return {"path": seen.workspace.log.name, "head": now.head, "folded_to": now.state.seq, **sizes}


def system(seen: Seen, now: Now) -> dict[str, Any]:
    """The page."""
    return views.common(now) | {"system": document(seen, now), "meters": views.meters(now.document)}
