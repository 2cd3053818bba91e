"""The vigil: which child stands still for longer than its phase may take, and how it is ended.

Silence is counted from the newest beat whose progress differs from the one before, on a clock that runs
only while the watchdog itself does. Progress comes from the thread that works, so whatever stops it is seen.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.decide.hang import FLOORS, hangs, limit, limits
from core.safety import evidence
from core.safety.children import Child, Hang, left_behind
from db.engine import write_lock_holder
from db.workspace import Workspace
from events.log import Log
from events.types import (
    AttemptStarted,
    CheckpointSaved,
    Event,
    FileValidated,
    ProcessHung,
    StepsCompleted,
    ValidationMeasured,
)
from projections.fold import State

LEARN_EVERY = 30.0  # seconds between two looks at what the log knows of durations
FACTS = 100  # newest facts of a kind that are looked at


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. What `serve` has is the default."""

    floors: Mapping[str, float] = field(default_factory=lambda: FLOORS)
    dump: float = 1.0  # for a process to say where it stands
    grace: float = 10.0  # between SIGTERM and SIGKILL of one that stands still
    asleep: float = 30.0  # a longer gap between two looks: nobody ran
    stopping: float = 60.0  # at the service's end: a large model takes its time to write


class Vigil:
    """Watches all children; `tell` appends facts."""

    def __init__(
        self, log: Log, workspace: Workspace, patience: Patience, tell: Callable[..., None]
    ) -> None:
        self._log, self._workspace, self._patience, self._tell = log, workspace, patience, tell
        self._learned: tuple[float, dict[str, float]] | None = None
        self._looked = time.monotonic()

    def look(self, children: Iterable[Child], state: State, *, writable: bool) -> None:
        """Find who stands still, and go on with the end of those found before.

        `writable`: could the watchdog write to the log? If not, nobody can beat, and only the process that
        holds the lock is judged.
        """
        now = time.monotonic()
        gap, self._looked = now - self._looked, now
        beats = self._log.heartbeats()
        culprit = None if writable else write_lock_holder(self._workspace.log)
        for child in children:
            if not child.is_alive:
                continue
            self._notice(child, beats.get(child.role))
            if child.hang is not None:
                self._end(child, child.hang, now)
            elif gap > self._patience.asleep or not (writable or _is_of(culprit, child)):
                child.moved = now  # the machine slept, or the lock is another's: the count begins anew
            else:
                self._judge(child, state, now)

    @staticmethod
    def _notice(child: Child, beat: Mapping[str, Any] | None) -> None:
        assert child.process is not None
        if beat is not None and beat["pid"] == child.process.pid:
            seen = (beat["phase"], beat["step"], beat["progress"])
            if seen != child.beat:
                child.beat, child.moved = seen, time.monotonic()

    def _judge(self, child: Child, state: State, now: float) -> None:
        silent = now - child.moved
        if silent < min(self._patience.floors.values()) / 10:
            return  # below every limit there can be
        phase = str(child.beat[0]) if child.beat is not None else "load"
        most = limit(self._limits(state, now), phase, hangs(state) if child.role == "trainer" else 0)
        if silent > most:
            assert child.process is not None
            child.hang = Hang(phase, silent, most, now + self._patience.dump, self._written(child))
            if _catches(child.process.pid, signal.SIGUSR1):
                child.send(signal.SIGUSR1)

    def _end(self, child: Child, hang: Hang, now: float) -> None:
        """One measure after the other: where does it stand, SIGTERM, SIGKILL for it and all it started."""
        assert child.process is not None
        if now < hang.until or hang.is_killed:
            return
        if not hang.is_told:
            hang.frames = evidence.places(self._output(child), hang.written)
            hang.is_told, hang.until = True, now + self._patience.grace
            self._tell(
                ProcessHung(
                    role=child.role,
                    pid=child.process.pid,
                    phase=hang.phase,
                    silent_seconds=round(hang.silent, 3),
                    limit_seconds=round(hang.limit, 3),
                    frames=hang.frames,
                )
            )
            child.send(signal.SIGTERM)
        else:
            hang.is_killed = True
            child.kill()

    def _output(self, child: Child) -> Path:
        return self._workspace.notes / f"{child.role}.err"

    def _written(self, child: Child) -> int:
        return evidence.written(self._output(child))

    def _limits(self, state: State, now: float) -> dict[str, float]:
        if self._learned is None or now - self._learned[0] > LEARN_EVERY:
            run = state.run.current
            known = durations(self._log, run.id if run is not None else None)
            self._learned = (now, limits(known, self._patience.floors))
        return self._learned[1]


def durations(log: Log, run: str | None) -> dict[str, list[float]]:
    """Phase → seconds that its newest turns took; step and eval of this run alone: others are not like it."""
    found: dict[str, list[float]] = {"step": [], "eval": [], "save": [], "load": [], "tokenize": []}
    stream = f"run/{run}"
    events: list[Event] = [
        recorded.event
        for kind, of in (
            (StepsCompleted, stream),
            (ValidationMeasured, stream),
            (CheckpointSaved, None),
            (AttemptStarted, None),
            (FileValidated, None),
        )
        for recorded in log.last(FACTS, kind, stream=of)
    ]
    for event in events:
        match event:
            case StepsCompleted(columns=columns):
                found["step"] += [float(value) for value in columns["seconds"] if value is not None]
            case ValidationMeasured(seconds=seconds):
                found["eval"].append(seconds)
            case CheckpointSaved(seconds=seconds):
                found["save"].append(seconds)
            case AttemptStarted(load_seconds=seconds):
                found["load"].append(seconds)
            case FileValidated(seconds=seconds):
                found["tokenize"].append(seconds)
    return found


def end_all(workspace: Workspace, role: str | None = None, session: int | None = None) -> None:
    """SIGKILL for everything that children of this workspace, or one child that ended, have left behind."""
    for pid in left_behind(workspace, role, session):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _is_of(pid: int | None, child: Child) -> bool:
    """Is this process the child, or in its session?"""
    assert child.process is not None
    if pid is None:
        return False
    try:
        return child.process.pid in (pid, os.getsid(pid))
    except ProcessLookupError:
        return False


def _catches(pid: int, number: signal.Signals) -> bool:
    """Has this process a handler for the signal? One without would die of it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False
    caught = next((line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")), "0")
    return bool(int(caught, 16) >> (number - 1) & 1)
