"""The stage: start and kill the real service, look at its log, tell what it came to."""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from core.logbook import state_at
from db.workspace import Workspace
from events.log import Log
from events.types import Event, Recorded, StepsCompleted
from projections.fold import State

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stage:
    """One workspace and, at times, a service on it, in a process group of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workspace = Workspace(root)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.environment: dict[str, str] = {}

    def serve(self, *more: str, command: str = "serve") -> "subprocess.Popen[bytes]":
        """Start the service."""
        code = "from core.cli import main; main()"
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-c",
                code,
                command,
                "--workspace",
                str(self.root),
                "--port",
                str(self.port),
                *more,
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT), **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self.process

    def serve_until_idle(self, timeout: float = 300) -> int:
        """Serve until nothing is left to do; gives the exit code."""
        return self.serve("--until-idle").wait(timeout)

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        """Serve for a while; whatever happens, nothing is left."""
        self.serve()
        try:
            yield
        finally:
            self.kill_all()

    def processes(self) -> list[psutil.Process]:
        """Every process on this workspace, whoever its parent is."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if str(self.root) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def pid(self, role: str) -> int | None:
        """The pid of a child, by its command."""
        module = {"daemon": "core.jobs", "monitor": "web", "trainer": "core.train"}[role]
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if module in process.cmdline():
                    return process.pid
        return None

    def kill_all(self) -> None:
        """SIGKILL for the whole group at once, as a power cut would."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
        wait(lambda: not self.processes(), 10, "all processes to be gone")

    def terminate(self, grace: float = 60) -> int:
        """SIGTERM for the watchdog, and wait for its end."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(grace)

    # -- the log ---------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def log(self) -> Iterator[Log]:
        """The log, opened for one look."""
        log = Log(self.workspace.log, "test")
        try:
            yield log
        finally:
            log.close()

    def facts(self, *types: type[Event]) -> list[Recorded]:
        with self.log() as log:
            return list(log.read(types=types or None))

    def state(self) -> State:
        with self.log() as log:
            return state_at(log)

    def wait_for(self, condition: Callable[[State], Any], what: str, timeout: float = 100) -> State:
        """Wait until the folded state is as asked."""
        with self.log() as log:
            wait(lambda: condition(state_at(log)), timeout, what)
            return state_at(log)

    def wait_for_fact(self, kind: type[Event], n: int = 1, timeout: float = 100) -> Recorded:
        """Wait for the nth fact of a type."""
        with self.log() as log:
            wait(lambda: len(log.last(n, kind)) >= n, timeout, f"{n} {kind.__name__}")
            return log.last(n, kind)[-1]

    def step(self) -> int:
        """The newest global step in the log."""
        with self.log() as log:
            newest = log.newest(StepsCompleted)
            if newest is None:
                return 0
            event = newest.event
            assert isinstance(event, StepsCompleted)
            return event.first_global_step + event.n - 1

    # -- damage ----------------------------------------------------------------------------------------

    def strip(self, chance: random.Random) -> None:
        """Delete all but log, config, base model, the queue's files, versions and checkpoints.

        The log is the database: its -wal belongs to it. mtimes are scrambled, and a stranger with a higher
        number is put beside the checkpoints.
        """
        current = self.workspace.current_model
        for path in self.root.iterdir():
            if path.is_dir() and path.name not in ("queue", "models"):
                shutil.rmtree(path)
        (self.root / "evertrain.sqlite-shm").unlink(missing_ok=True)
        for path in list(current.iterdir()):
            if path.name.startswith("checkpoint-"):
                stranger = current / "checkpoint-99999"
                if not stranger.exists():
                    shutil.copytree(path, stranger)
            elif path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        for folder in (self.workspace.queue, current):
            for path in folder.rglob("*"):
                moment = chance.uniform(0, 2e9)
                os.utime(path, (moment, moment))


def wait(condition: Callable[[], Any], timeout: float, what: str) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(0.02)


# -- what it came to ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """Everything that must be the same, however often it was interrupted."""

    weights: str
    moments: str
    rng: str
    global_step: int
    versions: list[tuple[str, str | None, str, int, str, float | None, float | None, float | None]]
    queue: dict[str, str]
    rows: dict[str, tuple[int, int]]  # run → (rows trained, digest of which)
    status: str
    problems: list[str]


def outcome(root: Path) -> Outcome:
    """Read it from the log, and the weights from the disk."""
    from events.verify import verify_log

    log = Log(root / "evertrain.sqlite", "test")
    state = state_at(log)
    newest = state.storage.usable[0]
    folder = root / newest.path
    saved = log.get(newest.saved)
    assert saved is not None
    event: Any = saved.event
    current = root / "models" / "current_model" / "model.safetensors"
    versions = [state.versions.versions[name] for name in state.versions.order]
    problems = [str(problem) for problem in verify_log(log.reader).problems]
    if sha256(folder / "model.safetensors") != event.weights_sha256:
        problems.append("the checkpoint's weights are not those of the log")
    if versions and sha256(current) != versions[-1].weights_sha256:
        problems.append("current_model is not the newest version")
    found = Outcome(
        weights=sha256(folder / "model.safetensors"),
        moments=sha256(folder / "optimizer.safetensors"),
        rng=event.rng_sha256,
        global_step=newest.global_step,
        versions=[
            (v.id, v.parent, v.file, v.global_step, v.weights_sha256, v.loss, v.validation_loss,
             v.fixed_validation_loss)
            for v in versions
        ],
        queue={entry.name: entry.state for entry in state.queue.entries.values()},
        rows=effective_rows(log),
        status=_status(root),
        problems=problems,
    )
    log.close()
    return found


def effective_rows(log: Log) -> dict[str, tuple[int, int]]:
    """Per run: how many rows its steps trained and the sum of their digests, each step counted once.

    Steps done again after a crash replace those that were lost.
    """
    steps: dict[tuple[str, int], tuple[int, int]] = {}
    for recorded in log.read(types=(StepsCompleted,)):
        event = recorded.event
        assert isinstance(event, StepsCompleted)
        for n in range(event.n):
            rows, digest = event.columns["rows"][n], event.columns["row_digest"][n]
            assert rows is not None and digest is not None
            steps[event.run, event.first_step + n] = (int(rows), int(digest))
    total: dict[str, tuple[int, int]] = {}
    for (run, _), (rows, digest) in steps.items():
        known = total.get(run, (0, 0))
        total[run] = (known[0] + rows, (known[1] + digest) % 2**48)
    return total


def expected_rows(stage: Stage) -> dict[str, tuple[int, int]]:
    """What the token stores say should have been trained, `epochs` times: every accepted row that is neither
    held out nor in the fixed set."""
    from core.config import parse
    from core.decide.batches import digests, lay_out
    from core.intake.tokens import TokenStore

    found = {}
    for run in stage.state().run.runs.values():
        settings = parse(run.config)
        store = TokenStore.open(stage.workspace.tokens / run.store)
        fixed = TokenStore.open(stage.workspace.tokens / run.fixed_store) if run.fixed_store else None
        never = fixed.hashes if fixed is not None else None
        layout = lay_out(store.hashes, store.lengths, settings, sha256=run.sha256, fixed=never)
        rows = layout.train_rows
        digest = digests(store.hashes, rows) * settings.epochs % 2**48
        found[run.id] = (len(rows) * settings.epochs, digest)
    return found


def terminal_states(stage: Stage) -> Counter[str]:
    """How often each file reached an end."""
    from events.types import FileRejected, FileRemoved, TrainingCompleted, TrainingFailed, TrainingSkipped

    ends = (FileRejected, FileRemoved, TrainingCompleted, TrainingFailed, TrainingSkipped)
    return Counter(getattr(recorded.event, "sha256") for recorded in stage.facts(*ends))  # noqa: B009


def _status(root: Path) -> str:
    return str(json.loads((root / "status" / "training_status.json").read_text())["status"])


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
