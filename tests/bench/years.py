"""A log of years in minutes: many files, kills, pauses and restores, through the append path of the service.

The same facts for the same numbers, whatever the day. `write` gives what to look for.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.logbook import open_log
from db.workspace import Workspace
from events.log import Log
from events.types import (
    AlertCleared,
    AlertRaised,
    AttemptStarted,
    CheckpointDeleted,
    CheckpointRetired,
    CheckpointSaved,
    Event,
    FilePlaced,
    FileQueued,
    FileReceived,
    FileRejected,
    FileValidated,
    PauseRequested,
    PhaseEntered,
    ProcessCrashed,
    ProcessExited,
    ProcessRestarted,
    ProcessStarted,
    ResourcesSampled,
    RestoreRequested,
    ResumeRequested,
    ServiceResumed,
    StepsCompleted,
    TrainingCompleted,
    TrainingPaused,
    TrainingStarted,
    ValidationMeasured,
    VersionDeleted,
    VersionPublished,
    VersionRestored,
    VersionRetired,
    WorkspaceCreated,
)
from tests.facts import sha, specimen

CHUNK = 64  # steps a fact
RUN_STEPS, SAVE_STEPS = 2300, 460  # of a file
KEPT = 20  # versions
#: Every so many files: a kill in the middle, a pause, a return to an older version, a rejection, an alert.
KILL, PAUSE, RESTORE, REJECTED, ALERT = 20, 30, 96, 25, 40
SPIKE = 50_021  # steps from one spike of the loss to the next
POOL = 512


@dataclass(slots=True)
class Years:
    """What is in the log."""

    path: Path
    steps: int = 0
    control: int = 0  # facts that are folded
    events: int = 0
    spikes: dict[int, float] = field(default_factory=dict)  # global step → loss, those that still stand
    killed: int = 0
    restored: int = 0


def columns(n: int = CHUNK, seed: int = 0) -> dict[str, list[float | int | None]]:
    """The columns of n steps, with the digits that the trainer's have."""
    chance = random.Random(seed)

    def each(make: Callable[[], float | int]) -> list[float | int | None]:
        return [make() for _ in range(n)]

    return {
        "loss": each(lambda: float(f"{chance.uniform(0.8, 2.5):.8g}")),
        "grad_norm": each(lambda: float(f"{chance.uniform(0.1, 2):.8g}")),
        "learning_rate": each(lambda: float(f"{chance.uniform(1e-6, 2e-4):.6g}")),
        "tokens": each(lambda: chance.randrange(2000, 8000)),
        "trained_tokens": each(lambda: chance.randrange(1000, 4000)),
        "rows": each(lambda: chance.randrange(8, 17)),
        "row_digest": each(lambda: chance.randrange(2**48)),
        "seconds": each(lambda: round(chance.uniform(0.2, 0.9), 6)),
    }


class Writer:
    """Tells file after file; `append` takes the facts of one append, with who appends them."""

    def __init__(self, log: Log, done: Years) -> None:
        self.log, self.done = log, done
        self._pool = [columns(seed=n) for n in range(POOL)]
        self._global, self._number = 0, 0
        self._current: str | None = None
        self._points: list[str] = []
        self._versions: list[tuple[str, int]] = []

    def tell(self, *facts: Event, actor: str = "daemon", **more: Any) -> int:
        self.done.control += sum(not isinstance(fact, StepsCompleted | ResourcesSampled) for fact in facts)
        return self.log.append(*facts, actor=actor, **more)[-1]

    def begin(self) -> None:
        created = specimen(WorkspaceCreated, kind="user", base_model="models/tiny")
        self.tell(created, *(ProcessStarted(role=role, pid=9) for role in ("watchdog", "daemon", "monitor")))

    def file(self) -> None:
        """One file from its arrival to its version, and what happens on the way."""
        self._number += 1
        n = self._number
        name, run, version = f"set-{n:05d}.jsonl", f"r{n:05d}-{sha(str(n))[:8]}", f"v{n:04d}"
        key = sha(name)
        received = specimen(
            FileReceived, sha256=key, name=name, original=name, priority="normal", size_bytes=1_000_000 + n,
            by_hand=False,
        )  # fmt: skip
        first = self.tell(received, FilePlaced(sha256=key, path=f"queue/normal/{name}"))
        if n % REJECTED == 0:
            self.tell(specimen(FileRejected, sha256=key), FilePlaced(sha256=key, path=f"queue/failed/{name}"))
            return
        validated = specimen(FileValidated, sha256=key, verdict="accepted", format="messages")
        self.tell(validated, FileQueued(sha256=key, priority="normal"), correlation=first)
        if n % ALERT == 0:
            self.tell(AlertRaised(severity="warning", type="over-fitting", detail="the gap widens"))
            self.tell(AlertCleared(type="over-fitting"), specimen(ResourcesSampled))
        checkpoint = self._points[-1] if self._points else None
        begun = self._global
        started = self.tell(
            specimen(
                TrainingStarted, run=run, sha256=key, file=name, step=0, steps_planned=RUN_STEPS,
                global_step=begun, checkpoint=checkpoint, parent=self._current, weights=None,
                config={"epochs": 1, "learning_rate": 2e-4}, fixed_set=None, fixed_store=None,
            ),
            FilePlaced(sha256=key, path=f"queue/processing/{name}"), causation=first, correlation=first,
        )  # fmt: skip
        self._attempt(run, 1, 0, begun)
        step, attempt = 0, 1
        while step < RUN_STEPS:
            until = min(step + SAVE_STEPS, RUN_STEPS)
            if n % KILL == 0 and attempt == 1 and step >= RUN_STEPS // 2:
                self._steps(run, attempt, step, step + SAVE_STEPS // 2, begun)
                self._kill(run, step + SAVE_STEPS // 2)
                attempt = 2
                self._attempt(run, attempt, step, begun + step)
            self._steps(run, attempt, step, until, begun)
            step = until
            self._save(run, attempt, step, begun + step)
            if n % PAUSE == 0 and step == 2 * SAVE_STEPS:
                self._pause(run, key, step, begun + step)
        self._global = begun + RUN_STEPS
        end = self.tell(
            specimen(TrainingCompleted, run=run, sha256=key, steps=RUN_STEPS, global_step=self._global,
                     checkpoint=self._points[-1]),
            PhaseEntered(role="trainer", pid=7, phase="idle"), actor="trainer", causation=started,
            correlation=first,
        )  # fmt: skip
        self.tell(
            FilePlaced(sha256=key, path=f"queue/recently_completed/{name}"),
            specimen(VersionPublished, version=version, parent=self._current, run=run, file=name, sha256=key,
                     global_step=self._global, path=f"models/versions/{version}", kind="run", sources=(),
                     request=None, log_seq=end),
            causation=end, correlation=first,
        )  # fmt: skip
        self._current = version
        self._versions.append((version, self._global))
        if len(self._versions) > KEPT:
            old, _ = self._versions.pop(0)
            self.tell(VersionRetired(version=old, reason="beyond versions_keep"))
            self.tell(VersionDeleted(version=old))
        if n % RESTORE == 0:
            self._restore()

    def _attempt(self, run: str, attempt: int, step: int, at: int) -> None:
        self.tell(
            ProcessStarted(role="trainer", pid=7), PhaseEntered(role="trainer", pid=7, phase="load", run=run),
            specimen(AttemptStarted, run=run, attempt=attempt, step=step, global_step=at, device="cpu"),
            PhaseEntered(role="trainer", pid=7, phase="eval", run=run),
            specimen(ValidationMeasured, run=run, attempt=attempt, step=step, global_step=at, kind="holdout",
                     loss=2.5, train_loss=None),
            PhaseEntered(role="trainer", pid=7, phase="step", run=run), actor="trainer",
        )  # fmt: skip

    def _steps(self, run: str, attempt: int, step: int, until: int, begun: int) -> None:
        facts = []
        for first in range(step + 1, until + 1, CHUNK):
            n, at = min(CHUNK, until + 1 - first), begun + first
            made = self._pool[at // CHUNK * 7919 % POOL]
            if n < CHUNK:
                made = {name: column[:n] for name, column in made.items()}
            if at // SPIKE != (at + n - 1) // SPIKE:
                spike, value = (at + n - 1) // SPIKE * SPIKE, 40.0 + at % 97
                loss: list[Any] = list(made["loss"])
                loss[spike - at] = value
                made, self.done.spikes[spike] = made | {"loss": loss}, value
            facts.append(StepsCompleted(
                run=run, attempt=attempt, first_step=first, first_global_step=at, n=n, columns=made
            ))  # fmt: skip
            self.done.steps += n
        self.tell(*facts, actor="trainer")

    def _kill(self, run: str, step: int) -> None:
        self.done.killed += 1
        self.tell(
            ProcessCrashed(role="trainer", pid=7, exit_code=None, signal="SIGKILL", error="killed by SIGKILL",
                           run=run, step=step, category="killed"),
            ProcessRestarted(role="trainer", pid=7, crashes=1, after_seconds=1.0), actor="watchdog",
        )  # fmt: skip

    def _save(self, run: str, attempt: int, step: int, at: int) -> None:
        path = f"models/current_model/checkpoint-{at}" + (f".{attempt}" if attempt > 1 else "")
        self.tell(
            PhaseEntered(role="trainer", pid=7, phase="save", run=run),
            specimen(CheckpointSaved, run=run, attempt=attempt, step=step, global_step=at, path=path,
                     reason="save_steps"),
            PhaseEntered(role="trainer", pid=7, phase="eval", run=run),
            specimen(ValidationMeasured, run=run, attempt=attempt, step=step, global_step=at, kind="holdout",
                     loss=2.0 - step / 5000, train_loss=1.5),
            PhaseEntered(role="trainer", pid=7, phase="step", run=run), actor="trainer",
        )  # fmt: skip
        self._points.append(path)
        if len(self._points) > 3:
            old = self._points.pop(0)
            seq = self.tell(CheckpointRetired(path=old, reason="beyond checkpoints_keep"))
            self.tell(CheckpointDeleted(path=old), causation=seq)

    def _pause(self, run: str, key: str, step: int, at: int) -> None:
        asked = self.tell(PauseRequested(), actor="web")
        self.tell(
            TrainingPaused(run=run, sha256=key, step=step, global_step=at, checkpoint=self._points[-1],
                           request=asked),
            ProcessExited(role="trainer", pid=7, exit_code=0), actor="trainer", causation=asked,
            correlation=asked,
        )  # fmt: skip
        asked = self.tell(ResumeRequested(), actor="cli")
        self.tell(ServiceResumed(request=asked), causation=asked, correlation=asked)

    def _restore(self) -> None:
        self.done.restored += 1
        version, at = self._versions[-5]
        asked = self.tell(RestoreRequested(version=version), actor="web")
        self.tell(
            VersionRestored(version=version, before=self._current, global_step=at, checkpoint=None,
                            moments="fresh", request=asked),
            causation=asked, correlation=asked,
        )  # fmt: skip
        self._global, self._current = at, version
        self.done.spikes = {step: loss for step, loss in self.done.spikes.items() if step <= at}


def write(root: Path, steps: int, tell: Callable[[Years], None] = lambda done: None) -> Years:
    """A log with at least so many steps in a new workspace; one control fact to about 50 steps."""
    workspace = Workspace(root)
    workspace.lay_out()
    done = Years(workspace.log)
    log = open_log(workspace, "daemon", create=True)
    try:
        writer = Writer(log, done)
        writer.begin()
        while done.steps < steps:
            writer.file()
            tell(done)
        done.events = log.head()
    finally:
        log.close()
    return done
