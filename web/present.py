"""The present: one shared view of the log for every page and every viewer, folded once."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec

from db.workspace import Workspace
from events.log import Log, now_us
from events.types import Recorded, ResourcesSampled, StepsCompleted
from projections import status
from projections.fold import NUMERIC, Follower, State
from projections.reports import RunFacts
from projections.run import Run
from projections.stations import Stations
from web import plots, readings
from web.plots import Curves
from web.stretch import Stretch
from web.trail import Span, Trail

STEPS_READ = 32
TRAILS_KEPT = 4  # runs whose curves stay in memory

Samples = Callable[[Log], tuple[Recorded, ...]]


@dataclass(frozen=True, slots=True)
class Now:
    """The state and all that is not a fold of it, at one moment."""

    state: State
    document: dict[str, Any]  # the status document
    steps: Recorded | None  # the newest StepsCompleted
    notable: tuple[Recorded, ...]  # newest first
    asked: tuple[readings.Asked, ...]  # newest first
    usage: dict[str, dict[str, int]]  # kinds and reclaimable → kind → bytes, as the daemon last measured
    head: int  # seq
    at: int  # µs


class Seen(Protocol):
    """What a page is made from: the log as it stands (`Present`), or as it stood (`web.then.Then`)."""

    log: Log
    workspace: Workspace
    to: int | None  # the position it ended at; None: it goes on

    def look(self) -> Now: ...
    def state(self) -> State: ...
    def curves(self, whole: bool, span: Span | None = None) -> Curves: ...
    def curves_of(self, run: Run, span: Span | None = None) -> Curves: ...
    def space(self) -> tuple[Recorded, ...]: ...
    def day(self) -> tuple[Recorded, ...]: ...
    def run_facts(self, run: Run) -> RunFacts: ...


class Present:
    """The log as this process sees it; safe between threads."""

    to: int | None = None

    def __init__(self, log: Log, workspace: Workspace) -> None:
        self.log, self.workspace = log, workspace
        self._lock = threading.RLock()
        self.stations = Stations()
        self._follower = Follower(lambda after: log.read(after, but=NUMERIC), passed=self.stations.passed)
        self._trails: dict[str | None, Trail] = {}
        self._notable: tuple[int, tuple[Recorded, ...]] = (-1, ())
        self._run_facts: dict[str, tuple[int, RunFacts]] = {}
        self._samples: tuple[int, dict[Samples, tuple[Recorded, ...]]] = (0, {})
        self._asked: tuple[object, tuple[readings.Asked, ...]] = (None, ())

    def look(self) -> Now:
        """Everything as of this instant; own appends are always in."""
        with self._lock:
            head = self.log.head()
            state = self._follower.catch_up()
            steps = self.log.last(STEPS_READ, StepsCompleted)
            # what came in between the reads is shown as well: its position counts
            head = max(head, state.seq, steps[-1].seq if steps else 0)
            beats = self.log.heartbeats()
            now = now_us()
            sample = _sample(beats)
            document = status.document(state, steps, beats, sample, now, head)
            newest, usage = steps[-1] if steps else None, sample.get("usage") or {}
            notable, asked = self._newest(state.seq), self._requests(state)
            return Now(state, document, newest, notable, asked, usage, head, now)

    def state(self) -> State:
        """The folds alone."""
        with self._lock:
            return self._follower.catch_up()

    def curves(self, whole: bool, span: Span | None = None) -> Curves:
        """The newest run's, or the whole history's: also while the newest run has no step yet.

        `span`: these global steps alone, as fine as they can be drawn.
        """
        with self._lock:
            state = self._follower.catch_up()
            run = state.run.runs[state.run.latest] if state.run.latest else None
            trail = self._trail(None if whole or run is None else run.id)
            if trail.first_step is None and not whole:
                trail = self._trail(None)
            if span is not None:
                trail = Stretch(self.log, trail.run, None, span)
            return plots.curves(self.log, trail, state)

    def curves_of(self, run: Run, span: Span | None = None) -> Curves:
        """One run's, however old it is."""
        with self._lock:
            trail = self._trail(run.id) if span is None else Stretch(self.log, run.id, None, span)
            return plots.curves(self.log, trail, self._follower.catch_up())

    def space(self) -> tuple[Recorded, ...]:
        """Samples of the whole time of the log."""
        return self._sampled(readings.space_samples)

    def day(self) -> tuple[Recorded, ...]:
        """The newest day of samples."""
        return self._sampled(readings.day_samples)

    def run_facts(self, run: Run) -> RunFacts:
        """What the log says of a run; read again only when a fact came that is no step."""
        with self._lock:
            seq = self.state().seq
            if self._run_facts.get(run.id, (-1,))[0] != seq:
                found = {key: known for key, known in self._run_facts.items() if known[0] == seq}
                self._run_facts = found | {run.id: (seq, readings.run_facts(self.log, run))}
            return replace(self._run_facts[run.id][1], done=readings.steps_done(self.log, run))

    def _sampled(self, read: Samples) -> tuple[Recorded, ...]:
        """Read again when there is a newer sample."""
        with self._lock:
            newest = self.log.newest(ResourcesSampled)
            seq = newest.seq if newest is not None else 0
            if self._samples[0] != seq:
                self._samples = (seq, {})
            known = self._samples[1]
            if read not in known:
                known[read] = read(self.log)
            return known[read]

    def _trail(self, run: str | None) -> Trail:
        trail = self._trails.pop(run, None) or Trail(self.log, run)
        runs = [key for key in self._trails if key is not None]
        for key in runs[: len(runs) + 1 - TRAILS_KEPT]:
            del self._trails[key]  # the one that was not looked at for longest
        self._trails[run] = trail
        trail.catch_up()
        return trail

    def _requests(self, state: State) -> tuple[readings.Asked, ...]:
        # this fold changes with every request and every answer, and with nothing else
        if self._asked[0] is not state.control:
            self._asked = (state.control, readings.asked(self.log))
        return self._asked[1]

    def _newest(self, seq: int) -> tuple[Recorded, ...]:
        if self._notable[0] != seq:
            self._notable = (seq, readings.notable(self.log))
        return self._notable[1]


def _sample(beats: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The newest measurement of GPU, RAM and disk, which rides on the daemon's heartbeat."""
    text = beats.get("daemon", {}).get("sample")
    sample: dict[str, Any] = msgspec.json.decode(text) if text else {}
    return sample
