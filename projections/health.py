"""The health: which processes run, what crashed, what is wrong and needs a person."""

from immutables import Map
from msgspec import Struct, field
from msgspec.structs import replace

from events.types import (
    AlertCleared,
    AlertRaised,
    DriftCleared,
    DriftFound,
    JobFailed,
    PhaseEntered,
    ProcessCrashed,
    ProcessExited,
    ProcessHung,
    ProcessStarted,
    Recorded,
    TrainingFailed,
)
from projections.crashes import Crash, crash

VERSION = 4
CRASHES_KEPT = 50
DRIFTS_KEPT = 50

#: A process that lived this long is healthy again: the next delay starts from the beginning.
HEALTHY_US = 600 * 1_000_000


class Process(Struct, frozen=True, gc=False):
    pid: int
    state: str  # running, hung, exited or crashed
    phase: str | None
    since: int  # µs of the last change
    started_at: int = 0  # µs
    crashes: int = 0  # in a row

    @property
    def is_there(self) -> bool:
        """By the log it has not ended: it runs, or hangs."""
        return self.state in ("running", "hung")


class Alert(Struct, frozen=True, gc=False):
    severity: str
    type: str
    detail: str
    seq: int


class Drift(Struct, frozen=True, gc=False):
    seq: int
    kind: str
    path: str
    detail: str
    remedy: str


class Health(Struct, frozen=True, gc=False):
    processes: Map[str, Process] = field(default_factory=Map)  # by role
    crashes: tuple[Crash, ...] = ()  # newest last
    alerts: Map[str, Alert] = field(default_factory=Map)  # by type
    drifts: tuple[Drift, ...] = ()  # what disk and log disagree about, as far as known; newest last

    @property
    def fatal(self) -> Alert | None:
        """What a person must act on before anything moves again."""
        return next((alert for alert in self.alerts.values() if alert.severity == "fatal"), None)

    def waiting(self, *, training: bool) -> Alert | None:
        """What is waited for, that goes on by itself: an alert `waiting` or `waiting:…`, the oldest.

        A run that is under way waits for its own save only; the others keep new work from starting.
        """
        kinds = [a for a in self.alerts.values() if a.type == "waiting" or a.type.startswith("waiting:")]
        if training:
            kinds = [alert for alert in kinds if alert.type == "waiting:save"]
        return min(kinds, key=lambda alert: alert.seq, default=None)


EMPTY = Health()


def apply(state: Health, recorded: Recorded) -> Health:
    seq, at = recorded.seq, recorded.at
    match recorded.event:
        case PhaseEntered(role=role, phase=phase) if role in state.processes:
            return _process(state, role, replace(state.processes[role], phase=phase, since=at))
        case ProcessStarted(role=role, pid=pid):
            crashes = state.processes[role].crashes if role in state.processes else 0
            return _process(state, role, Process(pid, "running", None, at, at, crashes))
        case ProcessExited(role=role, pid=pid):
            return _process(state, role, Process(pid, "exited", None, at))
        case ProcessCrashed() as e:
            known = state.processes.get(e.role)
            healthy = known is not None and known.started_at and at - known.started_at >= HEALTHY_US
            crashes = 1 if known is None or healthy else known.crashes + 1
            state = replace(state, crashes=(*state.crashes[-CRASHES_KEPT + 1 :], crash(recorded)))
            started = known.started_at if known else 0
            return _process(state, e.role, Process(e.pid, "crashed", None, at, started, crashes))
        case TrainingFailed() if "trainer" in state.processes:
            # the file was the cause: the next one starts without delay
            return _process(state, "trainer", replace(state.processes["trainer"], crashes=0))
        case JobFailed(job=job, error=error, where=where):
            alert = Alert("serious", f"job:{job}", f"{error} at {where}", seq)
            return replace(state, alerts=state.alerts.set(alert.type, alert))
        case AlertRaised(severity=severity, type=kind, detail=detail):
            return replace(state, alerts=state.alerts.set(kind, Alert(severity, kind, detail, seq)))
        case AlertCleared(type=kind) if kind in state.alerts:
            return replace(state, alerts=state.alerts.delete(kind))
        case DriftFound() as e:
            found = Drift(seq, e.kind, e.path, e.detail, e.remedy)
            return replace(state, drifts=(*_without(state, e.kind, e.path)[-DRIFTS_KEPT + 1 :], found))
        case DriftCleared(kind=kind, path=path):
            return replace(state, drifts=_without(state, kind, path))
        case ProcessHung(role=role, phase=phase) if role in state.processes:
            return _process(state, role, replace(state.processes[role], state="hung", phase=phase, since=at))
        case _:
            return state


def _without(state: Health, kind: str, path: str) -> tuple[Drift, ...]:
    return tuple(drift for drift in state.drifts if (drift.kind, drift.path) != (kind, path))


def _process(state: Health, role: str, process: Process) -> Health:
    return replace(state, processes=state.processes.set(role, process))
