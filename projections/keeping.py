"""The keeping: a restore before it is asked for, and the backups, as documents. Pure."""

from typing import Any

from projections.fold import State
from projections.standing import moments_of, obstacles
from projections.status import iso
from projections.storage import Backup
from projections.versions import Version

HOUR_US = 3_600_000_000
FIRST_RETRY_US = 10 * 60 * 1_000_000


def restore_preview(state: State, version: Version) -> dict[str, Any]:
    """What a restore of this version would do now, and what stands in its way.

    Its daemon decides; it also reads every byte of the version first, and refuses a damaged one.
    """
    kept = next(iter(moments_of(state, version.id)), None)
    stopped = [run.file for run in state.run.runs.values() if run.state == "stopped"]
    return {
        "version": version.id, "from": state.versions.current, "from_step": state.run.global_step,
        "to_step": version.global_step, "moments": "kept" if kept else "fresh",
        "checkpoint": kept.path if kept else None, "waiting": len(state.queue.waiting),
        "begin_anew": stopped, "obstacles": _obstacles(state, version),
    }  # fmt: skip


def _obstacles(state: State, version: Version) -> list[str]:
    """What refuses a restore as things stand; a second request would meet the first one's answer."""
    asked = [request for request in state.control.pending if request.type == "RestoreRequested"]
    return [
        *obstacles(state, version),
        *(f"a restore of {other.version} is asked for already (#{other.seq})" for other in asked),
    ]


def retry_delay(failures: int, interval: int) -> int:
    """µs to wait after so many failures in a row: 10 min, doubling, at most the ordinary interval (µs)."""
    return min(interval, FIRST_RETRY_US << min(failures - 1, 32))


def next_backup_due(state: State) -> int | None:
    """µs; None: there is nothing to back up yet, or no schedule. The first is due with the first version."""
    every = state.workspace.config.get("backup", {}).get("every_hours")
    storage = state.storage
    if not every or not state.versions.order:
        return None
    interval = int(every * HOUR_US)
    if storage.backup_failures:
        return storage.backup_ended_at + retry_delay(storage.backup_failures, interval)
    if not storage.backups_in("verified"):  # none that holds: at once
        return state.versions.versions[state.versions.order[0]].created_at
    return storage.backup_ended_at + interval


def backups(state: State) -> dict[str, Any]:
    """Every backup that is not deleted, newest first, with the schedule."""
    config = state.workspace.config.get("backup", {})
    due = next_backup_due(state)
    ended = state.storage.backup_ended_at
    return {
        "target": config.get("target"), "every_hours": config.get("every_hours"), "keep": config.get("keep"),
        "last_ended_at": iso(ended) if ended else None, "next_due": iso(due) if due else None,
        "failures": state.storage.backup_failures,
        "backups": [backup(one) for one in reversed(state.storage.backups_in())],
    }  # fmt: skip


def backup(one: Backup) -> dict[str, Any]:
    """One backup, for the page, its twin and the command alike."""
    return {
        "id": one.id, "state": one.state, "target": one.target, "created_at": iso(one.at), "seq": one.started,
        "verified_at": iso(one.verified_at) if one.verified_at else None, "versions": list(one.versions),
        "checkpoints": list(one.checkpoints), "log_seq": one.log_seq or None,
        "log_hash": one.log_hash or None, "objects": one.objects, "size_bytes": one.size_bytes,
        "added_bytes": one.added_bytes, "reason": one.reason,
    }  # fmt: skip
