"""The children: how each is started, and what its end means."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil

from core.decide.crash import Evidence, analyse
from core.safety import evidence
from db.notes import forget_note
from db.processes import PARENT
from db.workspace import Workspace
from events.log import Log, now_us
from events.types import Event, ProcessCrashed, ProcessExited, StepsCompleted
from projections.fold import State
from projections.xids import heaviest, numbers

#: The monitor's exit code when its port is taken; the daemon's above it carry the verdict of --until-idle.
PORT_TAKEN = 98
ROLE_TAKEN = 3
ROLES = ("daemon", "monitor", "trainer")
#: In the environment of every child, and so of what it starts: ROLE@WORKSPACE.
MARK = "EVERTRAIN_CHILD"


@dataclass(slots=True)
class Hang:
    """A child that stood still for too long, and how far its end has come."""

    phase: str
    silent: float  # seconds
    limit: float  # seconds
    until: float  # monotonic seconds: the next measure
    written: int = 0  # bytes of its output before it was asked where it stands
    frames: tuple[str, ...] = ()
    is_told: bool = False
    is_killed: bool = False

    @property
    def error(self) -> str:
        return f"no progress in the phase {self.phase} for {self.silent:.0f} s (limit {self.limit:.0f} s)"


@dataclass(slots=True)
class Child:
    """One role's process. `not_before`: monotonic seconds, the delay after a crash."""

    role: str
    command: Sequence[str]
    process: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    not_before: float = 0.0
    oom_kills: int | None = None  # of the kernel, at the start
    wanted: bool = True
    environment: dict[str, str] = field(default_factory=dict)
    beat: tuple[object, ...] | None = None  # its newest sign of progress, and when it came
    moved: float = 0.0
    hang: Hang | None = None

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, workspace: Workspace) -> int:
        """Start it from the calling thread, whose death the child will not outlive; gives the pid.

        It leads a session, so that it can be ended with all that it started.
        `-P`: a folder named `web` where evertrain was started must not stand in for ours.
        """
        workspace.notes.mkdir(parents=True, exist_ok=True, mode=0o700)
        workspace.temporary.mkdir(parents=True, exist_ok=True, mode=0o700)
        environment = {**os.environ, **workspace.environment(), **self.environment, PARENT: str(os.getpid())}
        environment |= {MARK: f"{self.role}@{workspace.root}"}
        environment.pop("NOTIFY_SOCKET", None)  # systemd listens to the watchdog alone
        # threads that wait for one another spin by default: beside anything else that is busy, a step then
        # takes twenty times as long; asleep they cost nothing
        environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        environment["PYTHONFAULTHANDLER"] = "1"  # a fatal signal leaves the places of its calls
        forget_note(workspace.notes, self.role)
        self.oom_kills = evidence.oom_kills()
        with (workspace.notes / f"{self.role}.err").open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", *self.command],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                close_fds=True,
                start_new_session=True,
            )
        self.started = self.moved = time.monotonic()
        self.beat = self.hang = None
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still lives."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL for it and its group."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


def left_behind(workspace: Workspace, role: str | None = None, session: int | None = None) -> list[int]:
    """The pids of all that children of this workspace started (or one role's child), and of them themselves.

    By the mark in their environment and by their session, so a change of either does not hide them.
    `session`: that of a child which has ended.
    """
    marks = {f"{name}@{workspace.root}" for name in ([role] if role else ROLES)}
    marked, sessions, all_sessions = set[int](), {session}, dict[int, int]()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            all_sessions[process.pid] = os.getsid(process.pid)
            if process.environ().get(MARK) in marks:
                marked.add(process.pid)
                sessions.add(all_sessions[process.pid])
    inside = {pid for pid, session in all_sessions.items() if session in sessions}
    return sorted((marked | inside) - {os.getpid()})


def ending(child: Child, state: State, log: Log, workspace: Workspace, *, asked: bool) -> Event:
    """The fact of a child's end: expected, or a crash with its evidence."""
    assert child.process is not None
    code, pid = child.process.returncode, child.process.pid
    if child.hang is None and _is_expected(code, asked):
        reason = {PORT_TAKEN: "its port is taken", ROLE_TAKEN: "its role is taken"}.get(code, "")
        return ProcessExited(role=child.role, pid=pid, exit_code=code, reason=reason)
    name = signal.Signals(-code).name if code < 0 else None
    run = state.run.current if child.role == "trainer" else None
    recorded = log.newest(StepsCompleted, stream=f"run/{run.id}") if run is not None else None
    newest = recorded.event if recorded is not None else None
    reached = newest.first_step + newest.n - 1 if isinstance(newest, StepsCompleted) else 0
    said = evidence.words(workspace, child.role)
    phase = child.hang.phase if child.hang else evidence.phase(log, child.role, pid)
    frames = said.frames if child.hang is None else child.hang.frames or said.frames
    killed = (evidence.oom_kills() or 0) - child.oom_kills if child.oom_kills is not None else 0
    finding = analyse(
        Evidence(
            child.role,
            code if code >= 0 else None,
            name,
            killed,
            said.raised,
            phase,
            frames,
            hung=child.hang is not None,
        )
    )
    ended = f"killed by {name}" if name else said.error or f"exit code {code}"
    return ProcessCrashed(
        role=child.role,
        pid=pid,
        exit_code=code if code >= 0 else None,
        signal=name,
        error=child.hang.error if child.hang else ended,
        run=run.id if run is not None else None,
        step=reached if run is not None else None,
        category=finding.category,
        phase=phase,
        frames=frames,
        resources=evidence.resources(log, now_us()) | _of_gpu(finding.category, child.started),
    )


def _of_gpu(category: str, since: float) -> dict[str, int]:
    """What the GPU's driver said meanwhile, when the GPU is to blame."""
    xid = heaviest(numbers(evidence.kernel_lines(since))) if category == "cuda_error" else None
    return {"xid": xid} if xid is not None else {}


def _is_expected(code: int, asked: bool) -> bool:
    is_meant = code == 0 or code >= 100 or code in (PORT_TAKEN, ROLE_TAKEN)
    return is_meant or (asked and code == -signal.SIGTERM)
