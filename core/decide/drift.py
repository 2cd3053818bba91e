"""What disk and log disagree about: told once, kept open while it lasts, cleared when it is gone."""

from collections.abc import Sequence
from typing import NamedTuple

from events.types import (
    AlertCleared,
    AlertRaised,
    CheckpointDeleted,
    CheckpointQuarantined,
    CheckpointRetired,
    DriftCleared,
    DriftFound,
    Event,
    VersionPublished,
    VersionRestored,
)
from projections.fold import State
from projections.health import DRIFTS_KEPT

#: Rests on these: when one is newer than what was seen, it is decided again.
DEPENDS_ON: tuple[type[Event], ...] = (
    CheckpointDeleted,
    CheckpointQuarantined,
    CheckpointRetired,
    DriftCleared,
    DriftFound,
    VersionPublished,
    VersionRestored,
)

ALERT = "drift"


class Finding(NamedTuple):
    """One difference, as an inspection saw it."""

    kind: str
    path: str
    detail: str
    remedy: str


def unknown(state: State, found: Sequence[Finding]) -> list[Finding]:
    """The findings that nobody was told of yet."""
    told = {(drift.kind, drift.path) for drift in state.health.drifts}
    return [finding for finding in found if (finding.kind, finding.path) not in told]


def compare(state: State, found: Sequence[Finding], seen: int) -> list[Event]:
    """The facts of a look at the disk, which must have read all that an open drift speaks of.

    `seen`: the log's position at that look; what was told later stays. As many are told as the fold keeps.
    """
    there = {(finding.kind, finding.path) for finding in found}
    gone = {
        (drift.kind, drift.path)
        for drift in state.health.drifts
        if (drift.kind, drift.path) not in there
        and drift.seq <= seen
        and not (drift.kind == "checkpoint" and _is_aside(state, drift.path))
    }
    still = [drift for drift in state.health.drifts if (drift.kind, drift.path) not in gone]
    told = sorted(unknown(state, found))[: DRIFTS_KEPT - len(still)]
    facts: list[Event] = [DriftCleared(kind=kind, path=path) for kind, path in sorted(gone)]
    for finding in told:
        facts.append(DriftFound(**finding._asdict()))
        if finding.kind == "checkpoint" and _is_usable(state, finding.path):
            facts.append(CheckpointQuarantined(path=finding.path, problems=(finding.detail,)))
    now = [Finding(drift.kind, drift.path, drift.detail, drift.remedy) for drift in still] + told
    return facts + _alert(state, now)


def _alert(state: State, drifts: list[Finding]) -> list[Event]:
    known = state.health.alerts.get(ALERT)
    if not drifts:
        return [AlertCleared(type=ALERT)] if known is not None else []
    worst = next((drift for drift in drifts if _is_serious(state, drift)), drifts[0])
    severity = "serious" if _is_serious(state, worst) else "warning"
    more = f" (and {len(drifts) - 1} more)" if len(drifts) > 1 else ""
    detail = f"{worst.path}: {worst.detail}{more}. What to do: {worst.remedy}"
    if known is not None and (known.severity, known.detail) == (severity, detail):
        return []
    return [AlertRaised(severity=severity, type="drift", detail=detail)]


def _is_serious(state: State, drift: Finding) -> bool:
    """Does what trains or is served rest on it?"""
    current = state.versions.current
    shown = state.versions.versions[current].path if current is not None else None
    return drift.kind == "base_model" or (
        drift.kind in ("version", "version_missing") and drift.path == shown
    )


def _is_aside(state: State, path: str) -> bool:
    """Is it a resume point that was set aside as damaged, and lies there still?"""
    return path in state.storage.checkpoints and state.storage.checkpoints[path].state == "quarantined"


def _is_usable(state: State, path: str) -> bool:
    return path in state.storage.checkpoints and state.storage.checkpoints[path].state == "usable"
