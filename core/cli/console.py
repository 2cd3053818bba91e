"""The console of `serve`: what happens, a line each, for the person who started it."""

import sys
import threading
import time
from datetime import datetime

from db.workspace import Workspace
from events import types as facts
from events.log import Log
from events.types import Recorded
from projections.fold import FOLDED

STEP_SECONDS = 5.0


class Console:
    """Follows the log in a thread of its own; it only looks."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, port: int) -> None:
        """Say where the monitor is, and follow from here."""
        print(f"evertrain: workspace {self._workspace.root}", file=sys.stderr)
        print(f"evertrain: monitor at http://localhost:{port}  (Ctrl-C ends the service)", file=sys.stderr)
        self._thread = threading.Thread(target=self._follow, name="console", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Show the last facts and stop."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(5)

    def _follow(self) -> None:
        log = Log(self._workspace.log, "cli")
        seq, next_step = log.head(), 0.0
        while True:
            last = self._ended.wait(0.5)
            for recorded in log.read(seq, types=FOLDED):
                seq = recorded.seq
                if line := sentence(recorded):
                    self._say(recorded, line)
            if time.monotonic() >= next_step and (step := self._step(log)) is not None:
                next_step = time.monotonic() + STEP_SECONDS
                self._say(*step)
            if last:
                log.close()
                return

    def _step(self, log: Log) -> tuple[Recorded, str] | None:
        newest = log.newest(facts.StepsCompleted)
        if newest is None or newest.seq <= getattr(self, "_seen", 0):
            return None
        self._seen = newest.seq
        steps = newest.event
        assert isinstance(steps, facts.StepsCompleted)
        loss = steps.columns["loss"][-1]
        shown = f"{loss:.4f}" if loss is not None else "unknown"
        at = steps.first_step + steps.n - 1
        return newest, f"step {at} of the run, {steps.first_global_step + steps.n - 1} in all: loss {shown}"

    @staticmethod
    def _say(recorded: Recorded, line: str) -> None:
        at = datetime.fromtimestamp(recorded.at / 1e6).strftime("%H:%M:%S")
        print(f"{at} #{recorded.seq} {line}", file=sys.stderr, flush=True)


def sentence(recorded: Recorded) -> str | None:
    """A fact in words; None for those a person at the console need not see."""
    match recorded.event:
        case facts.FileReceived() as e:
            return f"received {e.original} ({e.size_bytes:,} bytes, {e.priority})"
        case facts.FileDuplicate() as e:
            return f"{e.original} holds the same bytes as {e.same_as}: not trained again"
        case facts.FileValidated() as e:
            return f"checked: {e.accepted_rows:,} of {e.rows:,} rows, {e.trainable_tokens:,} tokens to train"
        case facts.FileRejected() as e:
            return f"rejected: {e.reason}"
        case facts.FileIgnored() as e:
            return f"{e.original} is left alone: {e.reason}; {e.remedy}"
        case facts.TrainingStarted() as e:
            excluded = f", {e.excluded_rows:,} left out (in the fixed set)" if e.excluded_rows else ""
            rows = f"{e.rows:,} rows, {e.holdout_rows} held out{excluded}"
            return f"training {e.file}: {e.steps_planned} steps over {rows}"
        case facts.ValidationMeasured() as e:
            return f"{e.kind} loss {e.loss:.4f} at step {e.global_step}"
        case facts.TrainingCompleted() as e:
            return f"completed after {e.steps} steps"
        case facts.VersionPublished() as e:
            return f"published {e.version} in {e.path}"
        case facts.VersionRestored() as e:
            return (
                f"restored {e.version}: the next run goes on from step {e.global_step} ({e.moments} moments)"
            )
        case facts.BackupVerified() as e:
            return f"backup {e.backup} taken, restored and checked"
        case facts.BackupFailed() as e:
            return f"backup {e.backup} failed: {e.reason}"
        case facts.DiskCleaned() as e:
            return f"freed {e.freed_bytes:,} bytes: {e.reason}"
        case facts.ProcessHung() as e:
            return f"the {e.role} hangs in {e.phase} for {e.silent_seconds:.0f} s: it is ended"
        case (
            facts.TrainingPaused()
            | facts.TrainingStopped()
            | facts.TrainingSkipped()
            | facts.TrainingInterrupted()
        ) as e:
            return f"{type(e).__name__.removeprefix('Training').lower()} at step {e.step}"
        case facts.TrainingFailed() as e:
            return f"failed: {e.reason}"
        case facts.ProcessCrashed() as e:
            return f"the {e.role} died: {e.error}"
        case facts.AlertRaised() as e:
            return f"{e.severity}: {e.detail}"
        case facts.JobFailed() as e:
            return f"the job {e.job} failed: {e.error} at {e.where}"
        case facts.RequestRefused() as e:
            return f"request #{e.request} refused: {e.reason}"
        case _:
            return None
