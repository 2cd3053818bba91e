"""The stretch: a trail of some global steps alone, as fine as a chart can show them, down to the single one.

A few ranges of the roll-ups, or the facts that hold the steps, found by halving: a strand only goes forward.
What its last bucket holds of steps behind the position it is read at is left out, as in the whole trail.
"""

from typing import Any

from db import rollups
from events.log import Log
from events.types import Recorded, StepsCompleted
from projections import curves
from web.columns import COLUMNS, is_too_narrow
from web.trail import Span, Strands, Trail

SINGLE_STEPS = 3072  # up to here each step is read; beyond, roll-up rows are fine enough
PAGE = 64  # facts read at a time


class Stretch(Trail):
    """The steps of a span, of one run or of the whole history, as of `to`; where buckets are wide, it is
    widened to whole ones. Read once.
    """

    def __init__(self, log: Log, run: str | None, to: int | None, span: Span) -> None:
        super().__init__(log, run, to)
        self._level = 0
        reader = log.reader
        reader.execute("BEGIN")  # head, strands and roll-ups of one instant
        try:
            self._read_span(span)
        finally:
            reader.execute("COMMIT")

    def catch_up(self) -> None:
        """What is shown does not grow."""

    def _read_span(self, asked: Span) -> None:
        reader = self._log.reader
        self.seq = self._log.head() if self.to is None else self.to
        begin, self.end = self._bounds()
        first, last = max(asked.first, begin), min(asked.last, self.end)
        if last < first:
            self.span = Span(asked.first, max(asked.first, last))
            return
        self.span = Span(first, last)
        single = last - first < SINGLE_STEPS
        if not single:
            self._level = curves.level_for(first, last, COLUMNS) or 0
            self.width = curves.width(self._level)
            self.span = Span(first // self.width * self.width, (last // self.width + 1) * self.width - 1)
        while single and is_too_narrow(first, last, self.width):
            self.width *= 2
        strands = rollups.strands_of(reader, self.run, self.span.first, self.span.last, self.seq)
        self.until = self._end(strands)
        if single:
            self._read_steps(strands)
        else:
            self._read_rows(strands)

    def _bounds(self) -> tuple[int, int]:
        """The first and last step as of the position; (1, 0): there is none."""
        stream = None if self.run is None else f"run/{self.run}"
        self._newest = self._log.newest(StepsCompleted, stream=stream, to=self.seq)
        strand = rollups.newest_strand(self._log.reader, self.seq, self.run)
        if self._newest is None or strand is None:  # none at all: an older log's are still being folded
            return 1, 0
        assert isinstance(self._newest.event, StepsCompleted)
        first, last = rollups.bounds_before(self._log.reader, self.run, strand[0])
        done = self._newest.event.first_global_step + self._newest.event.n - 1
        return (strand[3] if first is None else min(first, strand[3])), max(last or 0, done)

    # -- single steps ----------------------------------------------------------------------------------

    def _read_steps(self, strands: list[Any]) -> None:
        assert self.span is not None
        self._floor, self._ceiling = self.span.first, self.span.last
        for row in strands:
            self._follow((row[1], row[2]), row[3])
            if row[3] > self.span.last or row[4] < self.span.first:
                continue  # it only takes the place of what was there
            end = self._last_of(row)
            start = self._place(row[0], end, max(row[3], self.span.first))
            for fact in self._log.read(start - 1, to=end, types=(StepsCompleted,), page=PAGE):
                assert isinstance(fact.event, StepsCompleted)
                if fact.event.first_global_step > self.span.last:
                    break
                self._add(fact.event)

    def _last_of(self, strand: Any) -> int:
        """The last position of the log that may hold steps of a strand."""
        following = rollups.next_strand(self._log.reader, strand[0])
        return min(self.seq, following - 1) if following is not None else self.seq

    def _place(self, low: int, high: int, step: int) -> int:
        """The position of the newest steps between two positions of one strand that begin by `step`."""
        while low < high:
            fact = self._log.newest(StepsCompleted, to=(low + high + 1) // 2)
            assert fact is not None and isinstance(fact.event, StepsCompleted)
            if fact.event.first_global_step <= step:
                low = (low + high + 1) // 2
            else:
                high = fact.seq - 1
        fact = self._log.newest(StepsCompleted, to=low)
        assert fact is not None
        return fact.seq

    def _end(self, strands: list[Any]) -> int:
        """The position up to which something may be measured of these steps: where later ones begin."""
        assert self.span is not None
        done = [row for row in strands if row[3] <= self.span.last and row[4] >= self.span.first]
        if not done:
            return self.seq
        end = self._last_of(done[-1])
        place = self._place(done[-1][0], end, self.span.last)
        behind = next(iter(self._log.read(place, to=self.seq, types=(StepsCompleted,), page=1)), None)
        return self.seq if behind is None else behind.seq

    # -- roll-up rows ----------------------------------------------------------------------------------

    @property
    def _by_turn(self) -> bool:
        return self.run is None and self._level >= curves.WHOLE  # finer ones are kept of runs alone

    def _read_rows(self, strands: list[Any]) -> None:
        assert self.span is not None
        rows = self._read(self._level, self.span.first, self.span.last)
        growing = False
        if self.to is not None and self._newest is not None:
            rows, growing = self._as_it_was(rows, strands, self._newest)
        of: Strands = {}
        for row in rows:
            of.setdefault((row[3], row[4]), []).append(row)
        for strand in strands:
            name = self._name(strand)
            self._follow(name, strand[3])
            self._take(of.pop(name, []))
        if growing:
            stream = None if self.run is None else f"run/{self.run}"
            for fact in self._log.read(self.seq, to=self.to, types=(StepsCompleted,), stream=stream):
                assert isinstance(fact.event, StepsCompleted)
                self._add(fact.event)

    def _as_it_was(
        self, rows: list[Any], strands: list[Any], newest: Recorded
    ) -> tuple[list[Any], bool]:
        """The rows as of `to`; True: the steps behind `seq` are to be added."""
        assert self.span is not None and isinstance(newest.event, StepsCompleted)
        last = newest.event.first_global_step + newest.event.n - 1
        if self.span.first <= last <= self.span.last:
            return self._cut(rows, self._level, strands, newest), True
        latest = self._name(rollups.newest_strand(self._log.reader, self.to, self.run))
        known = {self._name(strand) for strand in strands}
        if last < self.span.first:
            known.discard(latest)  # it came here later
        return [row for row in rows if (row[3], row[4]) in known], False
