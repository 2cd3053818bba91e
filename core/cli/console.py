"""The console of `serve`: what happens, a line each, for the person who started it."""

import sys
import threading
import time
from datetime import datetime

from core.files import printable
from core.logbook import follow, open_log
from db.workspace import Workspace
from events.types import (
    AlertRaised,
    BackupFailed,
    BackupVerified,
    DiskCleaned,
    Event,
    FileDuplicate,
    FileIgnored,
    FileReceived,
    FileRejected,
    FileValidated,
    JobFailed,
    ProcessCrashed,
    ProcessHung,
    Recorded,
    RequestRefused,
    StepsCompleted,
    TrainingCompleted,
    TrainingFailed,
    TrainingInterrupted,
    TrainingPaused,
    TrainingSkipped,
    TrainingStarted,
    TrainingStopped,
    ValidationMeasured,
    VersionPublished,
    VersionRestored,
)
from projections.fold import State
from projections.sentences import say

STEP_SECONDS = 5.0
#: What a person at the console wants to see.
SHOWN = (
    FileReceived, FileDuplicate, FileValidated, FileRejected, FileIgnored,
    TrainingStarted, ValidationMeasured, TrainingCompleted, TrainingPaused, TrainingStopped, TrainingSkipped,
    TrainingInterrupted, TrainingFailed,
    VersionPublished, VersionRestored, BackupVerified, BackupFailed, DiskCleaned,
    ProcessHung, ProcessCrashed, AlertRaised, JobFailed, RequestRefused,
)  # fmt: skip


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
        log = open_log(self._workspace, "cli")
        follower, seq, step_shown, next_step = follow(log), log.head(), 0, 0.0
        while True:
            last = self._ended.wait(0.5)
            state = follower.catch_up()
            shown = list(log.read(seq, to=state.seq, types=SHOWN))  # every one of them is folded
            step = log.newest(StepsCompleted) if time.monotonic() >= next_step else None
            if step is not None and step.seq > max(seq, step_shown):  # an older one is no news any more
                next_step, step_shown = time.monotonic() + STEP_SECONDS, step.seq
                shown = sorted([*shown, step], key=lambda recorded: recorded.seq)
            for recorded in shown:
                self._say(recorded, state)
            seq = max(seq, state.seq)
            if last:
                log.close()
                return

    @staticmethod
    def _say(recorded: Recorded, state: State) -> None:
        at = datetime.fromtimestamp(recorded.at / 1e6).strftime("%H:%M:%S")
        print(f"{at} #{recorded.seq} {sentence(recorded.event, state)}", file=sys.stderr, flush=True)


def sentence(event: Event, state: State) -> str:
    """A fact in words, every character of them one that shows."""
    return printable(f"{type(event).__name__} {say(event, state)}".strip())
