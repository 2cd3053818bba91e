"""A watchdog in a process of its own, and what it told."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from core.decide.hang import FLOORS
from core.logbook import open_log
from core.safety.children import left_behind
from db.workspace import Workspace
from events.log import Log
from events.types import Event
from projections.fold import State
from tests.projections.story import Tale

ROOT = Path(__file__).parents[3]
SECONDS = 5.0  # of every phase, but for:
LOAD_SECONDS = 60.0  # a process needs its time to start on a busy machine


class Watch:
    """One watchdog over one workspace."""

    def __init__(
        self,
        workspace: Workspace,
        commands: dict[str, Sequence[str]],
        seconds: float = SECONDS,
        load: float = LOAD_SECONDS,
        asleep: float = 30.0,
        paths: Sequence[Path] = (),
    ) -> None:
        self.workspace = workspace
        floors = dict.fromkeys(FLOORS, seconds) | {"load": load}
        plan = {
            "workspace": str(workspace.root), "floors": floors, "asleep": asleep, "commands": commands,
        }  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*paths, ROOT)))}
        self.log: Log = open_log(workspace, "test")
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.core.safety.watching", json.dumps(plan)], env=environment
        )

    def facts(self, kind: type[Event]) -> list[Any]:
        return [recorded.event for recorded in self.log.read(types=(kind,))]

    def first(self, kind: type[Event], seconds: float = 60.0, n: int = 1) -> Any:
        """The nth fact of a type, waited for."""
        self.wait(lambda: len(self.facts(kind)) >= n, seconds, kind.__name__)
        return self.facts(kind)[n - 1]

    def wait(self, condition: Callable[[], Any], seconds: float = 60.0, what: str = "it") -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
            assert self.process.poll() is None, "the watchdog ended"
            time.sleep(0.05)

    def beat(self, role: str) -> dict[str, Any]:
        return self.log.heartbeats().get(role, {"pid": None, "phase": None, "progress": None})

    def end(self) -> int:
        """SIGTERM, as a service is ended."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextlib.contextmanager
def watching(*arguments: Any, **more: Any) -> Iterator[Watch]:
    """Whatever happens, nothing is left."""
    watch = Watch(*arguments, **more)
    try:
        yield watch
    finally:
        if watch.process.poll() is None:
            watch.process.kill()
        watch.process.wait(20)
        for pid in left_behind(watch.workspace):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        watch.log.close()


def standing(workspace: Workspace, role: str, phase: str, way: str, seconds: float = 0.2) -> list[str]:
    """The command of a child that stands still."""
    return ["tests.core.safety.standing", str(workspace.root), role, phase, way, str(seconds)]


def open_run(workspace: Workspace) -> State:
    """A log with a run that a trainer is wanted for."""
    log = open_log(workspace, "daemon")
    tale = Tale()
    tale.queues("a")
    tale.starts("a", "r1")
    log.append(*tale.facts)
    log.close()
    return tale.state
