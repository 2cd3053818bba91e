"""The record of the steps: a writer thread turns figures into facts, so that no step waits for the disk."""

import os
import threading
import time
from itertools import groupby

from core.train.trainer import Figures
from events.heartbeat import Heartbeat
from events.log import Log
from events.types import Event, PhaseEntered, StepsCompleted, StepSkipped

EVERY_SECONDS = 0.5
LOOK_SECONDS = 0.05
COLUMNS = ("loss", "grad_norm", "learning_rate", "tokens", "trained_tokens", "rows", "row_digest", "seconds")
PENALISED = ("objective", "penalty_mass")  # only where there are logit penalties


def facts_of(run: str, attempt: int, figures: list[Figures]) -> list[Event]:
    """Finite steps in a row are one fact, column by column; each of the others is a fact of its own."""
    facts: list[Event] = []
    for is_finite, group in groupby(figures, key=lambda step: step.is_finite):
        steps = list(group)
        names = COLUMNS if steps[0].objective is None else (*COLUMNS, *PENALISED)
        names = (*names, "empty_windows") if any(step.empty_windows for step in steps) else names
        if is_finite:
            facts.append(
                StepsCompleted(
                    run=run,
                    attempt=attempt,
                    first_step=steps[0].step,
                    first_global_step=steps[0].global_step,
                    n=len(steps),
                    columns={name: [getattr(step, name) for step in steps] for name in names},
                )
            )
        else:
            facts += [
                StepSkipped(
                    run=run,
                    attempt=attempt,
                    step=step.step,
                    global_step=step.global_step,
                    loss=step.loss,
                    grad_norm=step.grad_norm,
                    reason="not_finite" if step.has_targets else "no_targets",
                )
                for step in steps
            ]
    return facts


class Recorder:
    """Takes figures and progress from the loop; appends and beats from a thread of its own.

    The thread beats when the loop has moved since, and only then: it never speaks for one that stands still.
    What goes wrong in it is raised at the loop's next call, so no step is trained unrecorded for long.
    """

    def __init__(self, log: Log, heartbeat: Heartbeat) -> None:
        self._log, self._heartbeat = log, heartbeat
        self._run, self._attempt = "", 0
        self._figures: list[Figures] = []
        self._progress: tuple[str, int | None] | None = None
        self._entered: tuple[str, str | None] = ("", None)
        self._error: BaseException | None = None
        self._taking, self._appending = threading.Lock(), threading.Lock()
        self._wake, self._closed = threading.Event(), False
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        self._thread.start()

    def begin(self, run: str, attempt: int) -> None:
        """What is recorded from here on belongs to this attempt."""
        self.flush()
        self._run, self._attempt = run, attempt

    def step(self, figures: Figures) -> None:
        """A step is done. Waits while the log waits for space: no step is trained unrecorded for long."""
        while self._log.room.is_waiting and self._error is None:
            time.sleep(LOOK_SECONDS)
        self._raise()
        with self._taking:
            self._figures.append(figures)

    def progress(self, phase: str, step: int | None) -> None:
        """Something moved: the next heartbeat says so."""
        self._raise()
        self._progress = (phase, step)

    def enter(self, phase: str, step: int | None, run: str | None) -> None:
        """Something else begins: a fact, and a heartbeat at once. Nothing when it was being done already."""
        self.progress(phase, step)
        if (phase, run) != self._entered:
            self._entered = (phase, run)
            self._wake.set()
            self.append(PhaseEntered(role="trainer", pid=os.getpid(), phase=phase, run=run))

    def append(self, *facts: Event, unless: tuple[type[Event], ...] = (), after: int | None = None) -> None:
        """The steps so far, then these facts. Raises Conflict as Log.append does."""
        self.flush()
        self._log.append(*facts, unless=unless, after=after)

    def flush(self) -> None:
        """Every step so far is in the log."""
        self._raise()
        self._write()

    def close(self) -> None:
        """Write what is left and end the thread."""
        self._closed = True
        self._wake.set()
        self._thread.join()
        self._raise()

    def _work(self) -> None:
        try:
            while not self._closed:
                self._wake.wait(EVERY_SECONDS)
                self._wake.clear()
                self._write()
                progress, self._progress = self._progress, None
                if progress is not None:
                    self._heartbeat.beat(*progress, now=time.monotonic())
            self._write()
        except Exception as error:  # raised again in the loop: _raise
            self._error = error

    def _write(self) -> None:
        with self._appending:
            with self._taking:
                figures, self._figures = self._figures, []
            self._log.append(*facts_of(self._run, self._attempt, figures))

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error


def recorded_steps(log: Log, run: str, first: int, last: int) -> dict[int, tuple[float, int]]:
    """step → (loss, trained tokens), steps `first` to `last` of a run, as the newest attempt had them."""
    found: dict[int, tuple[float, int]] = {}
    for recorded in log.read(types=(StepsCompleted,), stream=f"run/{run}"):
        event = recorded.event
        if (
            isinstance(event, StepsCompleted)
            and event.first_step <= last
            and event.first_step + event.n > first
        ):
            pairs = zip(event.columns["loss"], event.columns["trained_tokens"], strict=True)
            for step, (loss, tokens) in enumerate(pairs, event.first_step):
                if first <= step <= last and loss is not None:
                    found[step] = (float(loss), int(tokens or 0))
    return found


def weighted_mean(steps: dict[int, tuple[float, int]]) -> float | None:
    """Loss in nats per trained token over these steps; None without any."""
    trained = sum(tokens for _, tokens in steps.values())
    return sum(loss * tokens for loss, tokens in steps.values()) / trained if trained else None
