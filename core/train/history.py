"""What the log holds of a version's training: where it began, what each step was like, how it ended."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from core.train.surroundings import threads_of
from events.log import Log
from events.types import (
    AttemptStarted,
    CheckpointSaved,
    MemoryPlanned,
    MicroBatchHalved,
    Recorded,
    StepsCompleted,
    StepSkipped,
    TrainingStarted,
)

KINDS = (
    TrainingStarted, MemoryPlanned, MicroBatchHalved, AttemptStarted, StepsCompleted, StepSkipped,
    CheckpointSaved,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """A step as its last attempt had it: `figures` by the columns of `StepsCompleted`."""

    attempt: int
    figures: dict[str, float | int | None]


@dataclass(frozen=True, slots=True)
class Leg:
    """Steps `first` to `last`, one after the other in one try."""

    start: int  # which of the history's
    first: int
    last: int
    threads: int | None  # None: a GPU


@dataclass(slots=True)
class History:
    """The steps of one run that follow one another, as they count: what was done again counts once."""

    starts: list[TrainingStarted]  # the first is where these steps begin
    plans: list[MemoryPlanned | None]  # what each was trained with; None: told by no fact in those days
    began: int  # its seq
    attempts: dict[int, AttemptStarted] = field(default_factory=dict)
    steps: dict[int, Step] = field(default_factory=dict)
    halvings: dict[int, int] = field(default_factory=dict)  # first step → times its micro-batches are halved
    end: CheckpointSaved | None = None  # what the version was made of

    @property
    def first(self) -> TrainingStarted:
        return self.starts[0]

    def legs(self) -> Iterator[Leg]:
        """All steps in order, cut where another try took over."""
        ends = [*(start.step for start in self.starts[1:]), self.first.steps_planned]
        for number, end in enumerate(ends):
            begin = self.starts[number].step + 1
            for step in range(begin, end + 1):
                if step == end or self._attempt(step) != self._attempt(step + 1):
                    yield Leg(number, begin, step, threads_of(self._attempt(step).device))
                    begin = step + 1

    def _attempt(self, step: int) -> AttemptStarted:
        return self.attempts[self.steps[step].attempt]


def read(log: Log, run: str) -> History:
    """The history of a completed run.

    It begins at the run's first start, or at a later one when another run trained the model in between: then
    the steps before do not lead to the version on their own.
    """
    facts = list(log.read(types=KINDS, stream=f"run/{run}"))
    starts = [fact for fact in facts if isinstance(fact.event, TrainingStarted)]
    saved = [fact for fact in facts if isinstance(fact.event, CheckpointSaved)]
    first = len(starts) - 1
    while first and _goes_on(starts[first - 1], starts[first], saved):
        first -= 1
    known = History(
        [_start(fact) for fact in starts[first:]],
        [_planned(facts, end) for end in (*starts[first + 1 :], None)],
        starts[first].seq,
    )
    for fact in facts:
        if isinstance(fact.event, MicroBatchHalved):  # holds for the steps of every start after it
            known.halvings[fact.event.step] = fact.event.halvings
        if fact.seq > known.began:
            _take(known, fact.event)
    return known


def _goes_on(before: Recorded, later: Recorded, saved: list[Recorded]) -> bool:
    """Does the later start go on from a resume point that this run saved since the one before?"""
    last, start = _start(before), _start(later)
    if (start.checkpoint, start.weights, start.step) == (last.checkpoint, last.weights, last.step):
        return True  # no step was taken in between
    return any(
        before.seq < fact.seq < later.seq
        and isinstance(point := fact.event, CheckpointSaved)
        and (point.path, point.step, point.global_step) == (start.checkpoint, start.step, start.global_step)
        for fact in saved
    )


def _planned(facts: list[Recorded], end: Recorded | None) -> MemoryPlanned | None:
    """The newest plan before the next start: made for this start, or an earlier one that was kept."""
    found = None
    for fact in facts if end is None else facts[: facts.index(end)]:
        if isinstance(fact.event, MemoryPlanned):
            found = fact.event
    return found


def _start(fact: Recorded) -> TrainingStarted:
    assert isinstance(fact.event, TrainingStarted)
    return fact.event


def _take(known: History, event: Any) -> None:
    match event:
        case AttemptStarted(attempt=number):
            known.attempts[number] = event
        case StepsCompleted(attempt=attempt, first_step=first, columns=columns):
            for n in range(event.n):
                figures = {name: column[n] for name, column in columns.items()}
                known.steps[first + n] = Step(attempt, figures)
        case StepSkipped(attempt=attempt, step=step):
            known.steps[step] = Step(attempt, {"loss": event.loss, "grad_norm": event.grad_norm})
        case CheckpointSaved(step=step) if step == known.first.steps_planned:
            known.end = event
        case _:
            return


def resume_point(log: Log, path: str, before: int) -> CheckpointSaved | None:
    """The resume point that had this path when fact `before` was written: names are used again."""
    found = None
    for fact in log.read(to=before, types=(CheckpointSaved,)):
        if isinstance(fact.event, CheckpointSaved) and fact.event.path == path:
            found = fact.event
    return found
