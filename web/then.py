"""Then: what the pages are made from at an earlier position, by the same readings as at the newest one."""

from dataclasses import replace

from db.workspace import Workspace
from events.types import Recorded
from projections.fold import State
from projections.reports import RunFacts
from projections.run import Run
from web import plots, readings
from web.past import Past
from web.plots import Curves
from web.present import Now
from web.stretch import Stretch
from web.trail import Span, Trail


class Then:
    """The log as it stood when it ended at `to`; the `web.present.Seen` of the past."""

    def __init__(self, past: Past, workspace: Workspace, to: int) -> None:
        self.log, self.workspace = past.log, workspace
        self.to: int | None = to
        self._seq = to
        self._past = past

    def look(self) -> Now:
        """Everything as of then, but for what is measured and not told."""
        return replace(self._past.look(self._seq), asked=readings.asked(self.log, self.to))

    def state(self) -> State:
        return self._past.state(self._seq)

    def curves(self, whole: bool, span: Span | None = None) -> Curves:
        """The newest run's as of then; the whole history's while that run had no step yet."""
        state = self.state()
        trail = self._trail(None if whole else state.run.latest)
        if trail.first_step is None and trail.run is not None:
            trail = self._trail(None)
        if span is not None:
            trail = Stretch(self.log, trail.run, self.to, span)
        return plots.curves(self.log, trail, state)

    def curves_of(self, run: Run, span: Span | None = None) -> Curves:
        """One run's as of then."""
        trail = self._trail(run.id) if span is None else Stretch(self.log, run.id, self.to, span)
        return plots.curves(self.log, trail, self.state())

    def space(self) -> tuple[Recorded, ...]:
        """Samples of the whole time of the log up to then."""
        return readings.space_samples(self.log, self.to)

    def day(self) -> tuple[Recorded, ...]:
        """The day of samples before then."""
        return readings.day_samples(self.log, self.to)

    def run_facts(self, run: Run) -> RunFacts:
        """What the log said of a run."""
        done = readings.steps_done(self.log, run, self.to)
        return replace(readings.run_facts(self.log, run, self.to), done=done)

    def _trail(self, run: str | None) -> Trail:
        trail = Trail(self.log, run, self.to)
        trail.catch_up()
        return trail
