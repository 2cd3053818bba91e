"""The views of versions, backups and the disk: what their templates print."""

import shlex
from datetime import UTC, datetime
from typing import Any

from events.types import ResourcesSampled, RestoreRequested
from projections import disk as usage
from projections import documents, keeping, lineage
from projections.figures import size
from projections.standing import stands_at
from projections.status import iso
from projections.versions import Version
from web import readings, views
from web.charts import Chart, draw
from web.columns import Column
from web.present import Now, Seen

VERSIONS_SHOWN = 100
AVERAGES = (1, 2, 3, 5)
SECOND = 1_000_000
UNMEASURED = (
    "free_bytes", "total_bytes", "floor_bytes", "target_bytes", "kinds", "reclaimable", "reclaimable_bytes",
    "growth_bytes_per_day", "days_left",
)  # fmt: skip


def version_list(now: Now) -> list[dict[str, Any]]:
    """Every version there ever was, newest first."""
    return [documents.version(now.state, one) for one in lineage.newest(now.state)]


def versions(now: Now) -> dict[str, Any]:
    """The versions page: the tree, newest on top."""
    found = lineage.newest(now.state)
    usable = len(now.state.storage.usable)
    return views.common(now) | {
        "nodes": lineage.draw(found[:VERSIONS_SHOWN]), "versions_count": len(found),
        "requests": views.requests(now, readings.ABOUT_VERSIONS), "usable": usable,
        "averages": [n for n in AVERAGES if n <= max(1, usable)],
        "choices": [one.id for one in found[:VERSIONS_SHOWN]],
    }  # fmt: skip


def version(now: Now, one: Version) -> dict[str, Any]:
    """One version: what it is, where it stands in the tree, what may be done with it."""
    state = now.state
    return views.common(now) | {
        "version": one, "document": version_document(now, one), "run_state": state.run.runs.get(one.run),
        "restorable": one.state == "kept" and one.kind == "run" and not stands_at(state, one),
        "protects": _protects(now, one),
        "requests": views.requests(now, readings.ABOUT_VERSIONS, one.id),
        "asked_pins": [
            request.type for request in state.control.pending
            if request.version == one.id and request.type in ("PinRequested", "UnpinRequested")
        ],
    }  # fmt: skip


def version_document(now: Now, one: Version) -> dict[str, Any]:
    """A version in the shape of the contract, with its place in the tree and its proofs."""
    return documents.version(now.state, one) | documents.version_tree(now.state, one) | {
        "sources": list(one.sources), "path": one.path, "manifest_sha256": one.manifest_sha256,
        "weights_sha256": one.weights_sha256, "published": one.published,
    }  # fmt: skip


def diff(now: Now, a: Version, b: Version) -> dict[str, Any]:
    """The page of what lies between two versions."""
    return views.common(now) | {
        "diff": documents.versions_diff(now.state, a, b),
        "choices": [one.id for one in lineage.newest(now.state)[:VERSIONS_SHOWN]],
    }  # fmt: skip


def _protects(now: Now, one: Version) -> list[str]:
    """Why retention leaves this version alone, beside the policy."""
    state, found = now.state, []
    if one.id == state.versions.current:
        found.append("it is current")
    if one.pinned:
        found.append("it is pinned")
    if state.versions.restored is not None and state.versions.restored.version == one.id:
        found.append("it was the last one to be restored")
    return found


def restore(now: Now, one: Version) -> dict[str, Any]:
    """The page that says what a restore would do, before anybody asks for it."""
    return views.common(now) | {
        "version": one, "preview": keeping.restore_preview(now.state, one),
        "requests": views.requests(now, (RestoreRequested,)),
    }  # fmt: skip


def backups(now: Now) -> dict[str, Any]:
    """The backups page."""
    page = keeping.backups(now.state)
    for one in page["backups"]:
        one["restore"] = restore_command(one["id"], one["target"])
    return views.common(now) | {
        "page": page, "requests": views.requests(now, readings.ABOUT_BACKUPS),
        "asked": now.state.control.first("BackupRequested"),
        "writing": [b for b in now.state.storage.backups_in("writing", "taken")],
        "alert": now.state.health.alerts.get("backup"),
    }  # fmt: skip


def restore_command(backup: str, target: str) -> str:
    """What brings a backup back, also when the workspace is gone."""
    return f"evertrain backup restore {backup} ./restored --target {shlex.quote(target)}"


def free_chart(seen: Seen) -> Chart | None:
    """Free bytes over the whole time of the log; None before the first sample."""
    columns = []
    for recorded in seen.space():
        e = recorded.event
        assert isinstance(e, ResourcesSampled)
        free = [value for value in e.columns.get("disk_free_bytes", []) if value is not None]
        if free:
            at = recorded.at // SECOND
            columns.append(Column(at, at, len(free), 0, float(sum(free)), min(free), max(free)))
    return draw(columns, name="Free space", say=size, tick=size, place=_clock, unit="from")


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%d %b %H:%M")


def disk_document(seen: Seen, now: Now) -> dict[str, Any]:
    """Space as last measured, what takes it, how long it lasts, and the newest clean-up."""
    measured, cleaned = now.document["disk"] or {}, now.state.storage.cleaned
    known = dict.fromkeys(UNMEASURED)
    if "disk_floor_gb" in now.state.workspace.config and measured.get("total_bytes"):
        known = usage.document(
            free_bytes=measured["free_bytes"], total_bytes=measured["total_bytes"],
            config=now.state.workspace.config, kinds=now.usage.get("kinds", {}),
            reclaimable=now.usage.get("reclaimable", {}), samples=seen.day(),
        )  # fmt: skip
    return known | {
        "measured": bool(now.usage),
        "cleaned": {
            "seq": cleaned.seq, "at": iso(cleaned.at), "freed_bytes": cleaned.freed_bytes,
            "reason": cleaned.reason,
        } if cleaned else None,
    }  # fmt: skip


def disk(seen: Seen, now: Now) -> dict[str, Any]:
    """The disk page without its chart."""
    return views.common(now) | {
        "disk": disk_document(seen, now), "requests": views.requests(now, readings.ABOUT_DISK),
        "asked": now.state.control.first("CleanRequested"), "meters": views.meters(now.document),
        "waiting": now.state.health.alerts.get("waiting"),
    }  # fmt: skip
