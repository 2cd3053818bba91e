"""What becomes of a run whose numbers went bad: back to a good resume point once, then it ends. Pure."""

from core.decide.training import may_roll_back
from events.types import TrainingFailed, TrainingRolledBack
from projections.run import Run
from projections.standing import Position


def after_bad_numbers(
    run: Run, at: Position, *, step: int, global_step: int, reason: str
) -> TrainingRolledBack | TrainingFailed:
    """The run was at `step`, `at` is its last good resume point.

    A passing fault of the machine is cured by going back. Rows or a rate that bring bad numbers bring them
    again: on a CPU the steps that are done again are the same to the bit.
    """
    if not may_roll_back(run):
        return failed(
            run, at, f"{reason}. They came again after the run had gone back: no passing fault of the machine"
        )
    return TrainingRolledBack(
        run=run.id,
        attempt=run.attempt,
        step=step,
        global_step=global_step,
        to_step=at.step,
        to_global_step=at.global_step,
        checkpoint=at.path,
        reason=reason,
    )


def failed(run: Run, at: Position, reason: str) -> TrainingFailed:
    """The end of a run; `at` is the resume point that holds from now on."""
    return TrainingFailed(
        run=run.id,
        sha256=run.sha256,
        step=at.step,
        global_step=at.global_step,
        checkpoint=at.path,
        reason=reason,
        attempts=run.attempt,
    )
