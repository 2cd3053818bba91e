"""The checker: asks `core.intake.checking`, in a process of its own, what a file is worth."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.config import parse
from core.files import printable
from core.intake.base import BaseUnusable
from core.intake.reading import Progress
from core.intake.report import Problem, Report
from core.intake.validate import Past
from db.processes import PARENT
from events.heartbeat import moved

PIECE = 1 << 16  # bytes of answers read at a time
LOOK_SECONDS = 0.2  # between two calls of `progress` while nothing is heard
ENDING_SECONDS = 10.0  # of one that has closed its end
#: Texts of a megabyte and more go back to the system when they are freed, and grow without being copied.
ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
TRIES = 3  # of a check whose process somebody killed


@dataclass(frozen=True, slots=True)
class Limits:
    """What the check of one file may use, beside what code and tokenizer take."""

    memory_bytes: int = 1 << 30
    cpu_seconds: float = 120.0  # and on top of it:
    bytes_per_second: int = 50_000  # a second for each so many bytes of the file


class Checker:
    """Checks files in processes that live from one file to the next; usable by several threads."""

    def __init__(self, environment: Mapping[str, str], limits: Limits | None = None) -> None:
        self._environment, self._limits = environment, limits or Limits()
        self._idle: list[_Process] = []
        self._lock = threading.Lock()

    def __enter__(self) -> "Checker":
        return self

    def __exit__(self, *error: object) -> None:
        self.rest()

    def rest(self) -> None:
        """End the processes that have nothing to do."""
        while (process := self._taken()) is not None:
            process.end()

    def examine(
        self, path: Path, *, sha256: str, base: Path, config: Mapping[str, Any],
        store: Path | None = None, progress: Progress | None = None, past: Past | None = None,
    ) -> Report:
        """`core.intake.validate.examine`, elsewhere; `base` is the model's folder.

        A file whose check takes more than its limits, or ends its process, is rejected (`check_failed`).
        `progress` may raise to stop; nothing remains then. Raises BaseUnusable, and OSError as that does.
        """
        beside = past or Past()
        question = {
            "path": os.fsencode(path).hex(),  # names are bytes
            "sha256": sha256,
            "base": str(base),
            "config": dict(config),
            "store": str(store) if store is not None else None,
            "trained": [str(folder) for folder in beside.trained],
            "tokens_per_second": beside.tokens_per_second,
            "limits": asdict(self._limits),
        }
        failure = ""
        for _ in range(TRIES):
            process = self._taken() or _Process(self._environment)
            answer: dict[str, Any] | None = None
            try:
                answer = process.ask(question, progress)
            finally:
                if answer is None:
                    process.end(store)
                else:
                    with self._lock:
                        self._idle.append(process)
            if answer is not None:
                return self._told(answer, path, sha256, config)
            failure = _ending(process.code)
            if process.code != -signal.SIGKILL:  # that one anybody may send; all others are the file's
                break
        return _failed(path, sha256, failure, config)

    def _taken(self) -> "_Process | None":
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _told(self, answer: dict[str, Any], path: Path, sha256: str, config: Mapping[str, Any]) -> Report:
        if "report" in answer:
            return Report.from_json(answer["report"])
        if "base_unusable" in answer:
            raise BaseUnusable(answer["base_unusable"])
        if "os_error" in answer:
            raise OSError(*answer["os_error"])
        return _failed(path, sha256, answer["failed"], config)


class _Process:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self.code = 0
        self._has_hung_up = False  # it is about to end by itself
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "core.intake.checking"],
            env={**ALLOCATION, **os.environ, **environment, PARENT: str(os.getpid())},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=True, bufsize=0,
        )  # fmt: skip
        assert self._child.stdin is not None and self._child.stdout is not None
        self._questions, self._answers = self._child.stdin, self._child.stdout

    def ask(self, question: dict[str, Any], progress: Progress | None) -> dict[str, Any] | None:
        """The answer; None: the process has ended."""
        try:
            self._questions.write(json.dumps(question).encode() + b"\n")
        except BrokenPipeError:
            self._has_hung_up = True
            return None
        read = of = 0
        begun = b""  # of a line that has not come whole yet
        while True:
            ready, _, _ = select.select([self._answers], [], [], LOOK_SECONDS)
            if ready:
                piece = self._answers.read(PIECE)
                if not piece:
                    self._has_hung_up = True
                    return None
                *lines, begun = (begun + piece).split(b"\n")
                for line in lines:
                    answer: dict[str, Any] = json.loads(line)
                    if "read" not in answer:
                        return answer
                    moved()
                    read, of = answer["read"], answer["of"]
            if progress is not None:
                progress(read, of)

    def end(self, store: Path | None = None) -> None:
        """Kill it, and remove what it had begun in the folder of all token stores."""
        if not self._has_hung_up:
            self._child.kill()
        try:
            self.code = self._child.wait(ENDING_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self.code = self._child.wait()
        self._questions.close()
        self._answers.close()
        if store is not None:
            for partial in store.glob(f".*.{self._child.pid}.partial"):
                shutil.rmtree(partial, ignore_errors=True)


def _ending(code: int) -> str:
    if code == -signal.SIGXCPU:
        return "it takes more processor time than a file of its size may"
    if code < 0:
        return f"its process died of {signal.Signals(-code).name}, as one does that has no memory left"
    return f"its process ended with {code}; the log of the daemon shows where"


def _failed(path: Path, sha256: str, why: str, config: Mapping[str, Any]) -> Report:
    reason = f"check_failed: the check came to no end: {why}"
    return Report(
        file=printable(path.name), sha256=sha256, format="unknown", verdict="rejected", reason=reason, rows=0,
        accepted_rows=0, dropped_rows=0, tokens=0, trainable_tokens=0,
        lengths=dict.fromkeys(("p50", "p95", "p99", "max")), mask_ratio=None, duplicates=0, leaks=0,
        problems=(Problem(0, "check_failed", reason),), counts={"check_failed": 1}, warnings=(), seconds=0.0,
        store=None, max_length=parse(config).max_length,
    )  # fmt: skip
