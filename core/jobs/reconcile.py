"""Reconcile: hourly, what disk and log disagree about becomes a fact with a remedy. Nothing is repaired."""

from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path

from core.decide.drift import DEPENDS_ON, Finding, compare, unknown
from core.files import CHUNK
from core.inspection import Hash, inspect
from core.jobs.service import Service
from core.jobs.validate import Interrupted
from events.heartbeat import moved
from projections.fold import State

EVERY = 3600.0  # seconds
NEVER = -1  # no hour of the day
SETTLE = 30.0  # seconds between two looks: what is at work now has ended, or is still at work, by then


def reconcile(service: Service, settle: float = SETTLE, hour: int | None = None) -> None:
    """Look, and tell. What looks new is looked at twice: other jobs move files while this one looks.

    Names and sizes of everything; every byte of what an open drift speaks of, and of a part: each path has
    its hour of the day (UTC), so all is read once a day. Raises Interrupted when the service stops meanwhile.
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
    told = {drift.path for drift in state.health.drifts} | (also or set())

    def reads(path: str) -> Hash | None:
        due = hour_of(path) == slot or any(one == path or one.startswith(f"{path}/") for one in told)
        return partial(_sha256_of, service) if due else None

    problems = inspect(service.workspace, state, deep=False, reads=reads)
    return [Finding(p.kind, p.path or "", p.detail, p.remedy or "") for p in problems]


def _sha256_of(service: Service, path: Path) -> str:
    """Gigabytes must not hold up a stop. Raises Interrupted, OSError."""
    digest = sha256()
    with path.open("rb") as file:
        while part := file.read(CHUNK):
            if service.stop.is_set():
                raise Interrupted
            digest.update(part)
            moved()
    return digest.hexdigest()


def hour_of(path: str) -> int:
    """The hour of the day (UTC) in which every byte of this path is read."""
    return sha256(path.encode()).digest()[0] % 24
