"""The children: how each is started, and what its end means."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from core.decide.crash import Evidence, analyse
from core.safety import evidence
from db.notes import forget_note
from db.processes import PARENT
from db.workspace import Workspace
from events.log import Log, now_us
from events.types import Event, ProcessCrashed, ProcessExited, StepsCompleted
from projections.fold import State

#: The monitor's exit code when its port is taken; the daemon's above it carry the verdict of --until-idle.
PORT_TAKEN = 98
ROLE_TAKEN = 3


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

    @property
    def is_alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self, workspace: Workspace) -> int:
        """Start it from the calling thread, whose death the child will not outlive; gives the pid.

        `-P`: a folder named `web` where evertrain was started must not stand in for ours.
        """
        workspace.notes.mkdir(parents=True, exist_ok=True, mode=0o700)
        workspace.temporary.mkdir(parents=True, exist_ok=True, mode=0o700)
        environment = {**os.environ, **workspace.environment(), **self.environment, PARENT: str(os.getpid())}
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
            )
        self.started = time.monotonic()
        return self.process.pid

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it still lives."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)


def ending(child: Child, state: State, log: Log, workspace: Workspace, *, asked: bool) -> Event:
    """The fact of a child's end: expected, or a crash with its evidence."""
    assert child.process is not None
    code, pid = child.process.returncode, child.process.pid
    if code == 0 or code >= 100 or code in (PORT_TAKEN, ROLE_TAKEN) or (asked and code == -signal.SIGTERM):
        reason = {PORT_TAKEN: "its port is taken", ROLE_TAKEN: "its role is taken"}.get(code, "")
        return ProcessExited(role=child.role, pid=pid, exit_code=code, reason=reason)
    name = signal.Signals(-code).name if code < 0 else None
    run = state.run.current if child.role == "trainer" else None
    recorded = log.newest(StepsCompleted, stream=f"run/{run.id}") if run is not None else None
    newest = recorded.event if recorded is not None else None
    reached = newest.first_step + newest.n - 1 if isinstance(newest, StepsCompleted) else 0
    said = evidence.words(workspace, child.role)
    phase = evidence.phase(log, child.role, pid)
    killed = (evidence.oom_kills() or 0) - child.oom_kills if child.oom_kills is not None else 0
    finding = analyse(
        Evidence(child.role, code if code >= 0 else None, name, killed, said.raised, phase, said.frames)
    )
    return ProcessCrashed(
        role=child.role,
        pid=pid,
        exit_code=code if code >= 0 else None,
        signal=name,
        error=f"killed by {name}" if name else said.error or f"exit code {code}",
        run=run.id if run is not None else None,
        step=reached if run is not None else None,
        category=finding.category,
        phase=phase,
        frames=said.frames,
        resources=evidence.resources(log, now_us()),
    )
