"""Comparison: each step that is trained again against the figures that the log has of it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from core.train.history import Step
from core.train.trainer import Figures

#: Compared in this order, so that a difference is named by what comes first: rows, then rate, then sums.
COLUMNS = (
    "rows", "row_digest", "tokens", "trained_tokens", "learning_rate", "loss", "objective", "penalty_mass",
    "grad_norm",
)  # fmt: skip

Value = float | int | str | None


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the two part: `what` is a column of `StepsCompleted`; before step 1, `tokens` or `plan`."""

    what: str
    recorded: Value
    now: Value
    step: int = 0  # of the run
    global_step: int = 0


def differences(then: Mapping[str, float | int | None], now: Figures) -> list[Difference]:
    """What differs between the recorded figures of a step and those it has now, in the order of `COLUMNS`."""
    return [
        Difference(name, then[name], getattr(now, name), now.step, now.global_step)
        for name in COLUMNS
        if name in then and not _same(then[name], getattr(now, name))
    ]


class Comparison:
    """Hears of each step done again."""

    def __init__(self, recorded: Mapping[int, Step]) -> None:
        self._recorded = recorded
        self.first: Difference | None = None
        self.differing = 0  # steps
        self.largest = 0.0  # difference of a loss, nats per trained token

    def take(self, now: Figures) -> None:
        then = self._recorded[now.step].figures
        differing = differences(then, now)
        if not differing:
            return
        self.first = self.first or differing[0]
        self.differing += 1
        apart = abs((then["loss"] or 0.0) - now.loss)
        self.largest = max(self.largest, apart if math.isfinite(apart) else math.inf)


def _same(one: float | int | None, other: float | int | None) -> bool:
    """Exactly the same number; what is not a number is the same as itself."""
    return one == other or (one != one and other != other)
