"""The watchdog: keeps daemon, monitor and trainer alive; no torch, its main thread starts every child."""

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence

from core.decide.crash import Evidence, alarm, analyse, relief
from core.decide.dispatch import restart_delay, wants_trainer
from core.logbook import follow, open_log
from core.safety.children import PORT_TAKEN, ROLE_TAKEN, ROLES, Child, Hang, ending
from core.safety.notify import Systemd
from core.safety.vigil import Patience, Vigil, end_all
from db.engine import driver, waits
from db.processes import RoleLock, Stop, holder
from db.reserve import LogFull, is_full
from db.workspace import Workspace
from events.heartbeat import Heartbeat
from events.types import (
    AlertCleared,
    AlertRaised,
    Event,
    ProcessCrashed,
    ProcessExited,
    ProcessRestarted,
    ProcessStarted,
)
from projections.crashes import INCURABLE
from projections.fold import State

LOOK_SECONDS = 0.1
BUSY_MS = 200  # the watchdog waits for no lock: what it has to say can wait
PORT_RETRY_SECONDS = 30.0
VERDICT = 100



class Watchdog:
    """One per workspace, by OS lock. Raises RoleTaken from `run` when another is there.

    `commands`: role → module and arguments of its process; else the three of the service.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        host: str,
        port: int,
        until_idle: bool = False,
        patience: Patience | None = None,
        commands: Mapping[str, Sequence[str]] | None = None,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        where = ["--workspace", str(workspace.root)]
        idle = ["--until-idle"] if until_idle else []
        self._workspace = workspace
        self._until_idle = until_idle
        chosen = commands or {
            "daemon": ["core.jobs", *where, *idle],
            "monitor": ["web", *where, "--host", host, "--port", str(port)],
            "trainer": ["core.train", *where],
        }
        self._children = {role: Child(role, command) for role, command in chosen.items()}
        self._patience = patience or Patience()
        self._stop = Stop()
        self._ready = ready
        self._systemd = Systemd()
        self._untold: list[Event] = []

    def run(self) -> int:
        """Watch until SIGTERM, SIGINT or, with `--until-idle`, the daemon's word; gives the exit code."""
        with RoleLock(self._workspace.locks, "watchdog"):
            self._workspace.lay_out()
            self._stop.install()
            self._log = open_log(self._workspace, "watchdog", busy_ms=BUSY_MS)
            self._follower = follow(self._log)
            self._beat = Heartbeat(self._log, "watchdog", every=1.0)
            self._vigil = Vigil(self._log, self._workspace, self._patience, self._tell)
            self._sweep()
            self._tell(ProcessStarted(role="watchdog", pid=os.getpid()))
            self._ready()
            self._systemd.ready()
            code = 0
            while not self._stop:
                verdict = self._look()
                if verdict is not None:
                    code = verdict
                    break
                self._stop.event.wait(LOOK_SECONDS)
            self._systemd.stopping()
            self._shut_down()
            reason = self._stop.signal or "nothing left to do"
            self._tell(ProcessExited(role="watchdog", pid=os.getpid(), exit_code=code, reason=reason))
            if not self._untold:
                self._beat.gone()
            self._log.close()
            return code

    # -- one look ------------------------------------------------------------------------------------

    def _look(self) -> int | None:
        now = time.monotonic()
        self._systemd.alive(now)
        writable = self._alive(now)
        state = self._follower.catch_up()
        for child in self._children.values():
            if child.process is not None and child.process.poll() is not None:
                verdict = self._ended(child, state)
                if verdict is not None:
                    return verdict
                state = self._follower.catch_up()
        self._vigil.look(self._children.values(), state, writable=writable)
        for child in self._children.values():
            if writable:
                phase = str(child.beat[0]) if child.is_alive and child.beat is not None else None
                self._tell(*relief(state, child.role, phase))
            child.wanted = child.role != "trainer" or wants_trainer(state)
            if child.wanted and child.process is None and now >= child.not_before:
                self._start(child, state)
        return None

    def _alive(self, now: float) -> bool:
        """Beat; False: the log cannot be written now, by anybody."""
        if not self._beat.beat("watch", now=now):
            return False
        self._tell()
        return not self._untold

    def _tell(self, *facts: Event) -> None:
        """Append facts; while the log cannot be written they are kept, in order."""
        self._untold += facts
        try:
            self._log.append(*self._untold)
        except (driver().OperationalError, LogFull) as error:
            if not waits(error):
                raise
        else:
            self._untold.clear()

    def _start(self, child: Child, state: State) -> None:
        known = state.health.processes.get(child.role)
        try:
            pid = child.start(self._workspace)
        except OSError as error:
            if not is_full(error):
                raise
            child.not_before = time.monotonic() + 1.0  # not even room for its empty output
            return
        self._tell(ProcessStarted(role=child.role, pid=pid))
        if known is not None and known.state == "crashed":
            waited = max(0.0, time.monotonic() - child.not_before)
            self._tell(
                ProcessRestarted(
                    role=child.role, pid=pid, crashes=known.crashes, after_seconds=round(waited, 3)
                )
            )
        if child.role == "monitor" and "port" in state.health.alerts:
            self._tell(AlertCleared(type="port"))

    def _ended(self, child: Child, state: State) -> int | None:
        """Make a fact of the end, and say when the next one may start."""
        assert child.process is not None
        code = child.process.returncode
        fact = ending(child, state, self._log, self._workspace, asked=bool(self._stop))
        end_all(self._workspace, child.role, child.process.pid)
        child.process = None
        self._tell(fact)
        if child.role == "daemon" and self._until_idle and code >= VERDICT:
            return int(code - VERDICT)
        if isinstance(fact, ProcessCrashed):
            after = self._follower.catch_up()
            self._tell(*alarm(after, fact))
            run = after.run.current
            known = after.health.processes.get(child.role)
            crashes = known.crashes if known is not None else 1
            progressed = child.role == "trainer" and run is not None and run.tries + run.kills == 0
            delay = restart_delay(crashes, progressed, incurable=fact.category in INCURABLE)
            child.not_before = time.monotonic() + delay
            print(f"evertrain: the {child.role} died ({fact.error}); again in {delay:g} s", file=sys.stderr)
        elif code == PORT_TAKEN:
            child.not_before = time.monotonic() + PORT_RETRY_SECONDS
            if "port" not in state.health.alerts:
                detail = "the monitor's port is taken by another program: free it, or serve with --port"
                self._tell(AlertRaised(severity="warning", type="port", detail=detail))
                print(f"evertrain: {detail}", file=sys.stderr)
        elif code == ROLE_TAKEN:
            child.not_before = time.monotonic() + 1.0
        elif not self._stop:
            child.not_before = time.monotonic() + 0.2
        return None

    # -- the two ends ----------------------------------------------------------------------------------

    def _sweep(self) -> None:
        """No process of an earlier service may be left; what the log wrongly believes alive gets its end."""
        deadline = time.monotonic() + 5.0
        for role in ROLES:
            while (pid := holder(self._workspace.locks, role)) is not None and time.monotonic() < deadline:
                time.sleep(0.05)  # its parent died a moment ago: the kernel's signal is on its way
            if pid:
                os.kill(pid, signal.SIGKILL)  # it holds our lock, so it is one of ours
        end_all(self._workspace)
        state = self._follower.catch_up()
        for role, process in state.health.processes.items():
            if process.is_there:
                self._tell(
                    ProcessCrashed(
                        role=role,
                        pid=process.pid,
                        exit_code=None,
                        signal=None,
                        error="gone without a word: killed with its watchdog, or the machine went down",
                        category=analyse(Evidence(role, with_watchdog=True)).category,
                    )
                )

    def _shut_down(self) -> None:
        """Ask all, wait out the grace time, kill what is left; each end is a fact."""
        for child in self._children.values():
            child.send(signal.SIGTERM)
        began = time.monotonic()
        deadline = began + self._patience.stopping
        while any(child.is_alive for child in self._children.values()) and time.monotonic() < deadline:
            self._systemd.alive(time.monotonic())
            time.sleep(0.05)
        for child in self._children.values():
            if child.is_alive and child.hang is None:  # how it is ended now is our doing, and no riddle
                phase = self._log.heartbeats().get(child.role, {}).get("phase", "load")
                child.hang = Hang(phase, time.monotonic() - began, self._patience.stopping, 0.0)
            child.kill()
            if child.process is not None:
                child.process.wait()
                fact = ending(child, self._follower.catch_up(), self._log, self._workspace, asked=True)
                end_all(self._workspace, child.role, child.process.pid)
                child.process = None
                self._tell(fact)
