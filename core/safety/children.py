"""The children: how each is started, and what its end means."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from db.notes import read_note
from db.processes import PARENT
from db.workspace import Workspace
from events.log import Log
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
    error = f"killed by {name}" if name else read_note(workspace.notes, child.role) or f"exit code {code}"
    return ProcessCrashed(
        role=child.role,
        pid=pid,
        exit_code=code if code >= 0 else None,
        signal=name,
        error=error,
        run=run.id if run is not None else None,
        step=reached if run is not None else None,
    )
