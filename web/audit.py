"""The audit: pages of the history by filter, and all that matches."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from events.codec import TYPES
from events.log import Log
from events.search import Query, count, facts, find
from events.types import Stored
from projections.fold import NUMERIC, State
from projections.lineage import streams
from web.forms import number

PAGE = 50
COUNTED = 10_000
STRETCH = 5_000  # facts looked at by one search
TEXT_STRETCH = 400  # payloads read by one search
FAR = 50  # times as many, when a person asks to look further
LONGEST_TEXT = 200
PIECE = 500  # facts exported at a time
NUMERIC_NAMES = tuple(cls.__name__ for cls in NUMERIC)
EVENT_NAMES = tuple(sorted(TYPES))
QUIET_NAMES = tuple(name for name in EVENT_NAMES if name not in NUMERIC_NAMES)
ACTORS = ("daemon", "trainer", "watchdog", "cli", "web")


@dataclass(frozen=True, slots=True)
class Filter:
    """What is looked for; empty: anything.

    `steps`: bulk numbers (steps, samples) as well. `far`: one search looks at many more facts.
    """

    type: str = ""
    actor: str = ""
    stream: str = ""
    run: str = ""
    about: tuple[str, ...] | None = None  # streams of the file that was named
    correlation: int | None = None
    text: str = ""
    since: int | None = None  # µs
    until: int | None = None  # µs
    before: int | None = None
    after: int | None = None
    steps: bool = False
    far: bool = False

    @property
    def query(self) -> Query:
        """What the log is asked."""
        named = [{self.stream}] if self.stream else []
        named += [{f"run/{self.run}"}] if self.run else []
        named += [set(self.about)] if self.about is not None else []
        types = (self.type,) if self.type else None if self.steps else QUIET_NAMES
        common = tuple(sorted(set.intersection(*named))) if named else None
        return Query(types, common, self.actor, self.correlation, self.text)


@dataclass(frozen=True, slots=True)
class Found:
    """One page, newest first."""

    facts: list[Stored]
    count: int
    capped: bool  # more than `count` match
    older: int | None  # before= of the next page
    newer: int | None  # after= of the page before
    searched_to: int | None  # the search stopped here without filling the page


class BadFilter(Exception):
    """A filter that cannot be read: which, and what it should look like."""


def parse(query: dict[str, str], state: State) -> Filter:
    """The filter of a query string; `state` knows the files. Raises BadFilter."""
    kind = query.get("type", "")
    if kind and kind not in TYPES:
        raise BadFilter(f"type: there is no fact named {kind!r}")
    file, text = query.get("file", ""), query.get("text", "")
    about = streams(state, file) if file else None
    if about == ():
        raise BadFilter(f"file: no file has the name {file!r}, or a hash that begins so")
    if len(text) > LONGEST_TEXT:
        raise BadFilter(f"text: look for at most {LONGEST_TEXT} characters")
    return Filter(
        kind, query.get("actor", ""), query.get("stream", ""), query.get("run", ""), about,
        position("correlation", query), text, _time("since", query), _time("until", query),
        position("before", query), position("after", query), _is_on("steps", query), _is_on("far", query),
    )  # fmt: skip


def position(name: str, query: Mapping[str, str]) -> int | None:
    """The log position a query names; None: it names none. Raises BadFilter."""
    text = query.get(name, "")
    seq = number(text)
    if text and seq is None:
        raise BadFilter(f"{name}: {text!r} is not a log position (a whole number)")
    return seq


def _is_on(name: str, query: Mapping[str, str]) -> bool:
    return query.get(name, "") not in ("", "0")


def _time(name: str, query: dict[str, str]) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    try:
        when = datetime.fromisoformat(text)
        return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() * 1_000_000)
    except (ValueError, OverflowError) as error:
        raise BadFilter(f"{name}: {text!r} is no time; write 2026-03-01 or 2026-03-01T12:00 (UTC)") from error


def search(log: Log, wanted: Filter) -> Found:
    """One page of the history."""
    low, high = _bounds(log, wanted)
    forward, query = wanted.after is not None, wanted.query
    start = max(low, wanted.after or 0)
    stop = high if wanted.before is None else min(high, wanted.before - 1)
    stretch = TEXT_STRETCH if wanted.text else STRETCH
    far = stretch * (FAR if wanted.far else 1)
    # payloads are read once: their matches are counted as far as the page has looked
    most = COUNTED if wanted.text and not wanted.far else PAGE
    seqs, reached = find(log, query, start, stop, most + 1, forward=forward, stretch=far)
    more = len(seqs) > PAGE
    shown = facts(log, seqs[:PAGE][::-1] if forward else seqs[:PAGE])
    if wanted.text:
        is_part = reached is not None or (start, stop) != (low, high)
        counted, capped = min(len(seqs), most), is_part or len(seqs) > most
    else:
        counted, capped = count(log, query, low, high, most=COUNTED, stretch=stretch)
    first, last = (shown[0].seq, shown[-1].seq) if shown else (None, None)
    going_down = more if not forward else last is not None
    going_up = more if forward else wanted.before is not None and first is not None
    return Found(
        shown, counted, capped,
        older=last if going_down else None,
        newer=first if going_up else None,
        searched_to=reached if not forward and not more else None,
    )  # fmt: skip


def piece(log: Log, wanted: Filter, after: int, to: int) -> tuple[list[Stored], int | None]:
    """The next matches behind `after`, oldest first, and where to go on; None: there are no more."""
    low, high = _bounds(log, wanted)
    start, stop = max(low, after), min(high, to)
    seqs, reached = find(log, wanted.query, start, stop, PIECE, forward=True, stretch=STRETCH)
    return facts(log, seqs), seqs[-1] if len(seqs) == PIECE else reached


def _bounds(log: Log, wanted: Filter) -> tuple[int, int]:
    low, high = 0, log.head()
    if wanted.since is not None:
        low = log.seq_at(wanted.since - 1)
    if wanted.until is not None:
        high = min(high, log.seq_at(wanted.until))
    return low, high
