"""Which resume points make a release, when is one made unasked, and what does its manifest say?"""

from dataclasses import dataclass
from typing import Any

from core.decide import resume
from core.decide.resume import branch, sources
from events.types import (
    CheckpointRetired,
    Event,
    RequestRefused,
    VersionPublished,
)
from projections.control import Request
from projections.fold import State
from projections.standing import next_start
from projections.status import iso
from projections.storage import Checkpoint
from projections.versions import Restored

HOUR_US = 3600 * 1_000_000
IDLE_US = HOUR_US  # nothing to do for so long: a release disturbs nobody
APART_US = 24 * HOUR_US  # between two that nobody asked for
DTYPE = "bfloat16"

DEPENDS_ON: tuple[type[Event], ...] = (*resume.DEPENDS_ON, CheckpointRetired, RequestRefused)


@dataclass(frozen=True, slots=True)
class Plan:
    """A release to be made of `points`, newest first. `restored`: the branch of history they are on."""

    request: int | None
    points: tuple[Checkpoint, ...]
    parent: str | None
    restored: Restored | None


def plan(state: State, request: Request | None) -> Plan | None:
    """What to make for this request (None: for the schedule); None: it cannot be made."""
    found = sources(state, _average(request))
    if not found:
        return None
    asked = request.seq if request is not None else None
    return Plan(asked, tuple(found), state.versions.current, state.versions.restored)


def _average(request: Request | None) -> int:
    return 1 if request is None or request.average is None else request.average


def refused(state: State, request: Request) -> list[Event]:
    """Why there is no plan for this request; empty: there is one, or it is answered."""
    if request not in state.control.pending or plan(state, request) is not None:
        return []
    found, average = branch(state), _average(request)
    if average < 1:
        return _refuse(request, f"there is no mean of {average} resume points: ask for 1 or more")
    if not found or found[0].path != next_start(state).path:
        return _refuse(
            request, "no usable resume point is where the model stands: train a file, then ask again"
        )
    return _refuse(
        request,
        f"only {len(found)} usable resume points lead to where the model stands, {average} were asked for: "
        "ask for fewer, or raise checkpoints_keep",
    )


def failed(request: Request, problem: str) -> list[Event]:
    """The refusal of a request whose release could not be made."""
    return _refuse(request, f"the release could not be made: {problem}")


def is_due(state: State, now: int) -> bool:
    """Make a release unasked? `now` in µs.

    Once everything has been idle for an hour, of a current version that has none, once a day at most.
    """
    if state.versions.current is None or state.run.current is not None or state.versions.due:
        return False
    if state.control.mode != "running" or state.control.is_asked or state.health.fatal is not None:
        return False
    if "waiting" in state.health.alerts or state.queue.counts("waiting", "validating", "processing"):
        return False
    current = state.versions.versions[state.versions.current]
    releases = [v for v in state.versions.versions.values() if v.kind == "release"]
    if any(release.parent == current.id for release in releases) or plan(state, None) is None:
        return False
    active = [current.created_at, next_start_at(state), *(r.started_at for r in state.run.runs.values())]
    apart = max((release.created_at for release in releases), default=now - APART_US)
    return now - max(active) >= IDLE_US and now - apart >= APART_US


def next_start_at(state: State) -> int:
    """When the resume point where the model stands was saved, in µs; 0: there is none."""
    checkpoint = next_start(state).checkpoint
    return checkpoint.at if checkpoint is not None else 0


def manifest(state: State, plan: Plan, log_seq: int, log_hash: str) -> dict[str, Any]:
    """The release's manifest without its files: of the log up to the newest source, so a second try says the
    same. `log_seq`, `log_hash`: the commit of that source and its chain head.
    """
    newest, created = plan.points[0], state.workspace.created
    run = state.run.runs[newest.run]
    assert created is not None
    return {
        "id": state.versions.next_id,
        "kind": "release",
        "created_at": iso(newest.at),
        "parent": plan.parent,
        "base_model": {"name": created.model_name, "sha256": created.base_sha256},
        "run": run.id,
        "file": run.file,
        "file_sha256": run.sha256,
        "global_step": newest.global_step,
        "loss": None,
        "validation_loss": None,
        "config_sha256": run.config_sha256,
        "dtype": DTYPE,
        "sources": [point.path for point in plan.points],
        "request": plan.request,
        "files": {},
        "log": {"seq": log_seq, "hash": log_hash},
    }


def is_open(state: State, plan: Plan) -> bool:
    """Is the release still wanted, and on the branch that the model is on?"""
    asked = [request.seq for request in state.control.pending if request.type == "ConsolidateRequested"]
    return plan.restored == state.versions.restored and (plan.request is None or plan.request in asked)


def published(
    state: State, plan: Plan, document: dict[str, Any], manifest_sha256: str, path: str
) -> list[Event]:
    """The fact of a release; empty: it is no longer wanted."""
    if not is_open(state, plan):
        return []
    files = document["files"]
    return [
        VersionPublished(
            version=document["id"],
            parent=plan.parent,
            run=document["run"],
            file=document["file"],
            sha256=document["file_sha256"],
            global_step=document["global_step"],
            loss=None,
            validation_loss=None,
            path=path,
            manifest_sha256=manifest_sha256,
            weights_sha256=files["model.safetensors"]["sha256"],
            size_bytes=sum(file["size_bytes"] for file in files.values()),
            log_seq=document["log"]["seq"],
            log_hash=document["log"]["hash"],
            kind="release",
            sources=tuple(document["sources"]),
            request=plan.request,
        )
    ]


def _refuse(request: Request, reason: str) -> list[Event]:
    return [RequestRefused(request=request.seq, reason=reason)]
