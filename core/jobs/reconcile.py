"""Reconcile: hourly, what disk and log disagree about becomes a fact with a remedy. Nothing is repaired."""

from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256

from core.decide.drift import DEPENDS_ON, Finding, compare, unknown
from core.inspection import inspect
from core.jobs.service import Service
from projections.fold import State

EVERY = 3600.0  # seconds
NEVER = -1  # no hour of the day
SETTLE = 30.0  # seconds between two looks: what is at work now has ended, or is still at work, by then


def reconcile(service: Service, settle: float = SETTLE, hour: int | None = None) -> None:
    """Look, and tell. What looks new is looked at twice: other jobs move files while this one looks.

    Names and sizes of everything; every byte of what an open drift speaks of, and of a part: each path has
    its hour of the day (UTC), so all is read once a day.
    """
    slot = datetime.now(UTC).hour if hour is None else hour
    state = service.state()
    found = _look(service, state, slot)
    if new := unknown(state, found):
        if service.stop.wait(settle):
            return
        paths = {finding.path for finding in new}
        state = service.state()
        there = {(finding.kind, finding.path) for finding in _look(service, state, NEVER, paths)}
        found = [finding for finding in found if (finding.kind, finding.path) in there]
    if not service.stop.is_set():
        service.decide(lambda now: compare(now, found, state.seq), DEPENDS_ON)


def _look(service: Service, state: State, slot: int, also: set[str] | None = None) -> list[Finding]:
    reads = _reads(service, state, slot, also or set())
    problems = inspect(service.workspace, state, deep=False, reads=reads)
    return [Finding(p.kind, p.path or "", p.detail, p.remedy or "") for p in problems]


def _reads(service: Service, state: State, slot: int, also: set[str]) -> Callable[[str], bool]:
    told = {drift.path for drift in state.health.drifts} | also

    def reads(path: str) -> bool:
        if service.stop.is_set():
            return False  # what is found now will not be used
        return hour_of(path) == slot or any(one == path or one.startswith(f"{path}/") for one in told)

    return reads


def hour_of(path: str) -> int:
    """The hour of the day (UTC) in which every byte of this path is read."""
    return sha256(path.encode()).digest()[0] % 24
