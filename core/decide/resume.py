"""Where does the open run go on? By the log's order alone, newest first."""

from dataclasses import dataclass

from projections.fold import State
from projections.run import Run
from projections.storage import Checkpoint


@dataclass(frozen=True, slots=True)
class Position:
    """A state of the model and the place in the run that belongs to it. No checkpoint: the base model."""

    checkpoint: Checkpoint | None
    step: int  # of the run
    global_step: int

    @property
    def path(self) -> str | None:
        return self.checkpoint.path if self.checkpoint is not None else None


def positions(state: State, run: Run) -> list[Position]:
    """Where `run` may go on, best first: its own resume points since it was started, then where it started.

    Anything older belongs to other steps: using it would lose or repeat rows in silence.
    """
    found = [
        Position(c, c.step, c.global_step)
        for c in state.storage.usable
        if c.run == run.id and c.saved > run.started
    ]
    if run.checkpoint is None:
        found.append(Position(None, run.step, run.global_step))
    found += [
        Position(c, run.step, run.global_step) for c in state.storage.usable if c.path == run.checkpoint
    ]
    return found


def standing(state: State, run: Run) -> Position:
    """Where the run stands now, as far as the disk can give it back."""
    return (positions(state, run) or [Position(None, run.step, run.global_step)])[0]
