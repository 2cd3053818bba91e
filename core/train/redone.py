"""Steps done again after a crash, compared with what an earlier try had: what should be equal is evidence."""

from core.decide import redone
from core.train.comparison import differences
from core.train.trainer import Figures
from events.log import Log
from events.types import (
    AlertRaised,
    AttemptStarted,
    Event,
    MicroBatchHalved,
    StepsCompleted,
    StepSkipped,
)
from projections.run import Run

KINDS: tuple[type[Event], ...] = (AttemptStarted, StepsCompleted, StepSkipped, MicroBatchHalved)


class Redone:
    """Holds the steps that lie beyond where a try begins, as the newest try before it had them.

    None from before the run's newest start: those may have had other settings.
    """

    def __init__(self, log: Log, run: Run, started: AttemptStarted) -> None:
        self._file, self._now = run.file, started
        self._tries: dict[int, AttemptStarted] = {}
        self._steps: dict[int, tuple[int, dict[str, float | int | None]]] = {}  # step → (attempt, figures)
        self._is_told = False
        for recorded in log.read(run.started, types=KINDS, stream=f"run/{run.id}"):
            self._take(recorded.event, started.step)

    def _take(self, event: Event, after: int) -> None:
        match event:
            case AttemptStarted(attempt=number):
                self._tries[number] = event
            case StepsCompleted(attempt=attempt, first_step=first, columns=columns):
                for n in range(max(0, after + 1 - first), event.n):
                    self._steps[first + n] = attempt, {name: values[n] for name, values in columns.items()}
            case StepSkipped(attempt=attempt, step=step) if step > after:
                self._steps[step] = attempt, {"loss": event.loss, "grad_norm": event.grad_norm}
            case MicroBatchHalved(step=step):
                self.forget(step)
            case _:
                return

    def forget(self, first: int) -> None:
        """From this step on micro-batches are smaller than they were, so sums are rounded otherwise."""
        self._steps = {step: known for step, known in self._steps.items() if step < first}

    def compare(self, now: Figures) -> AlertRaised | None:
        """An alert for the first step that came out otherwise; later ones only follow from it."""
        attempt, then = self._steps.pop(now.step, (0, {}))
        if self._is_told or not then:
            return None
        alike, exact = self._is_alike(attempt), self._now.device.startswith("cpu")
        for found in differences(then, now):
            if redone.is_wrong(found.what, found.recorded, found.now, alike=alike, exact=exact):
                self._is_told = True
                return redone.alarm(self._file, now.step, found.what, found.recorded, found.now)
        return None

    def _is_alike(self, attempt: int) -> bool:
        then, now = self._tries[attempt], self._now
        return (then.software, then.device, then.dtypes, then.attention) == (
            now.software,
            now.device,
            now.dtypes,
            now.attention,
        )
