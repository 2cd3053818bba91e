"""Training decisions: the learning rate of a step, and what is due after it. Steps count from 1."""

import math

from core.settings import Settings
from projections.control import Control, Request
from projections.run import Run

NON_FINITE_IN_A_ROW = 3  # so many skipped steps one after the other lead back, then end the run
ROLLBACKS = 1  # of a run: a glitch of the machine is cured by one, bad rows or too high a rate by none


def learning_rate(
    settings: Settings, step: int, steps_planned: int, global_step: int, *, decays: bool = False
) -> float:
    """The rate with which this step changes the weights: a function of position and run alone.

    Warm-up is linear over the first `warmup_steps` *global* steps, once in a model's life.
    `constant` and `wsd` then stay at the peak; `cosine_per_file` begins each run at the peak and ends it just
    above 0. With `wsd` a run that `decays` falls linearly from the peak to just above 0 (warm-up, stable,
    decay: Hu et al. 2024, MiniCPM; linear: Hägele et al. 2024), and the next is at the peak again, from the
    weights that came out (WSD-S: Wen et al. 2024).
    """
    warm = min(1.0, global_step / settings.warmup_steps) if settings.warmup_steps else 1.0
    peak = settings.learning_rate * warm
    if settings.lr_schedule == "cosine_per_file":
        return peak * (1 + math.cos(math.pi * (step - 1) / steps_planned)) / 2
    if settings.lr_schedule == "wsd" and decays:
        return peak * (steps_planned - step + 1) / steps_planned
    return peak


def is_evaluation_due(settings: Settings, step: int, steps_planned: int, global_step: int) -> bool:
    """Are hold-out and fixed set measured after this step? Step 0 stands for the moment before the first."""
    return step in (0, steps_planned) or global_step % settings.eval_steps == 0


def is_save_due(settings: Settings, global_step: int) -> bool:
    """Is a resume point taken after this step? (The end of a run saves anyway.)"""
    return global_step % settings.save_steps == 0


def may_roll_back(run: Run) -> bool:
    """Does the run go back to a good resume point after bad numbers, rather than end?"""
    return run.rollbacks < ROLLBACKS


def asked(control: Control, run: str) -> Request | None:
    """The oldest open request that the trainer of this run answers. A pause or stop that a later resume takes
    back is left to the daemon, and so is a skip that was meant for another run."""
    taken_back = max((r.seq for r in control.pending if r.type == "ResumeRequested"), default=0)
    for request in control.pending:
        if request.type in ("PauseRequested", "StopRequested") and request.seq > taken_back:
            return request
        if request.type == "SkipRequested" and request.run == run:
            return request
    return None


def measured(run: Run) -> set[int]:
    """After which of its latest steps a run was measured. Hold-out and fixed set are told together."""
    known = (run.first_validation, *run.validations, run.fixed)
    return {validation.step for validation in known if validation is not None}
