"""Over-fitting: does the hold-out fall behind what is trained, and what is said of it?"""

from itertools import pairwise

from events.types import AlertCleared, AlertRaised, Event, TrainingStarted, ValidationMeasured
from projections.fold import State
from projections.run import Run

#: The alert rests on these.
DEPENDS_ON: tuple[type[Event], ...] = (ValidationMeasured, TrainingStarted, AlertRaised, AlertCleared)

WARN, SERIOUS = 0.3, 0.5  # gap in nats per trained token
WIDE = 0.1  # the gap that counts when it was larger at each of so many evaluations
EVALUATIONS = 3
MARGIN = 0.02  # by which a gap is larger, or a loss has risen: noise of a hold-out of some dozen rows is less


def facts(state: State) -> list[Event]:
    """The alert `overfitting` as the newest run's evaluations have it; the next run begins without."""
    run = state.run.runs[state.run.latest] if state.run.latest is not None else None
    raised, judged = state.health.alerts.get("overfitting"), judge(run) if run is not None else None
    if run is None or judged is None:
        return [AlertCleared(type="overfitting")] if raised is not None else []
    severity, why = judged
    if raised is not None and raised.severity == severity and raised.detail.startswith(f"{run.id}:"):
        return []  # said already; every evaluation's figures are in its own fact
    at = run.validations[-1].step
    best = f"; best was step {run.best.step}: {run.best.loss:.3f} ({run.best.kind})" if run.best else ""
    detail = (
        f"{run.id}: {run.file} is being learned by heart: {why} at step {at}{best}. "
        "`evertrain skip` ends it, `versions restore` goes back; next time fewer epochs, a lower "
        "learning_rate or more rows"
    )
    return [AlertRaised(severity=severity, type="overfitting", detail=detail)]


def judge(run: Run) -> tuple[str, str] | None:
    """Severity and reason where a run over-fits by its newest hold-out evaluations.

    A wide gap alone is no sign: held-out rows may be harder, and while their loss still falls the model
    learns what is true of them as well. So the loss must have risen above its lowest. Only the hold-out is
    judged: a fixed set of other texts has a gap of its own from the start.
    """
    newest = run.validations[-1] if run.validations else None
    if newest is None or newest.gap is None or run.lowest is None or newest.loss <= run.lowest + MARGIN:
        return None
    found = (
        f"its validation loss {newest.loss:.3f} is {newest.loss - run.lowest:.2f} above its lowest "
        f"and {newest.gap:.2f} above the training loss"
    )
    if newest.gap > SERIOUS:
        return "serious", found
    if newest.gap > WARN:
        return "warning", found
    gaps = [validation.gap for validation in run.validations[-EVALUATIONS - 1 :]]
    known = [gap for gap in gaps if gap is not None]
    widens = len(known) > EVALUATIONS and all(later - earlier > MARGIN for earlier, later in pairwise(known))
    if widens and newest.gap > WIDE:
        return "warning", f"{found}, more at each of the last {EVALUATIONS} evaluations"
    return None
