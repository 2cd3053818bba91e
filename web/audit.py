"""The audit: pages of the history by filter, each a few index seeks however long the log is.

Never OFFSET, never an unbounded COUNT: pages hang on seq, counts stop at 10,000, and a search that no index
answers looks at a bounded stretch and says how far it looked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from events.codec import TYPES
from events.log import COLUMNS, Log, recorded
from events.types import Recorded
from projections.fold import NUMERIC
from web.forms import number

PAGE = 50
COUNTED = 10_000
STRETCH = 5_000  # rows looked at by one search
NUMERIC_NAMES = tuple(cls.__name__ for cls in NUMERIC)
EVENT_NAMES = tuple(sorted(TYPES))
QUIET_NAMES = tuple(name for name in EVENT_NAMES if name not in NUMERIC_NAMES)
ACTORS = ("daemon", "trainer", "watchdog", "cli", "web")


@dataclass(frozen=True, slots=True)
class Filter:
    """What is looked for; empty: anything. `steps`: bulk numbers (steps, samples) as well."""

    type: str = ""
    actor: str = ""
    stream: str = ""
    since: int | None = None  # µs
    until: int | None = None  # µs
    before: int | None = None
    after: int | None = None
    steps: bool = False

    @property
    def names(self) -> tuple[str, ...] | None:
        """The types that may be shown; None: all of them."""
        if self.type:
            return (self.type,)
        return None if self.steps else QUIET_NAMES


@dataclass(frozen=True, slots=True)
class Found:
    """One page, newest first."""

    facts: list[Recorded]
    count: int
    capped: bool  # more than `count` match
    older: int | None  # before= of the next page
    newer: int | None  # after= of the page before
    searched_to: int | None  # the search stopped here without filling the page


class BadFilter(Exception):
    """A filter that cannot be read: which, and what it should look like."""


def parse(query: dict[str, str]) -> Filter:
    """The filter of a query string. Raises BadFilter."""
    kind = query.get("type", "")
    if kind and kind not in TYPES:
        raise BadFilter(f"type: there is no fact named {kind!r}")
    return Filter(
        kind, query.get("actor", ""), query.get("stream", ""), _time("since", query), _time("until", query),
        position("before", query), position("after", query), query.get("steps", "") not in ("", "0"),
    )  # fmt: skip


def position(name: str, query: Mapping[str, str]) -> int | None:
    """The log position a query names; None: it names none. Raises BadFilter."""
    text = query.get(name, "")
    seq = number(text)
    if text and seq is None:
        raise BadFilter(f"{name}: {text!r} is not a log position (a whole number)")
    return seq


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
    low, high = 0, log.head()
    if wanted.since is not None:
        low = log.seq_at(wanted.since - 1)
    if wanted.until is not None:
        high = min(high, log.seq_at(wanted.until))
    forward = wanted.after is not None
    start = max(low, wanted.after or 0)
    stop = high if wanted.before is None else min(high, wanted.before - 1)
    rows, reached = _rows(log.reader, wanted, start, stop, PAGE + 1, forward)
    more = len(rows) > PAGE
    rows = rows[:PAGE]
    if forward:
        rows = rows[::-1]
    counted, capped = _count(log.reader, wanted, low, high)
    facts = [recorded(row) for row in rows]
    first, last = (facts[0].seq, facts[-1].seq) if facts else (None, None)
    going_down = more if not forward else last is not None
    going_up = more if forward else wanted.before is not None and first is not None
    return Found(
        facts, counted, capped,
        older=last if going_down else None,
        newer=first if going_up else None,
        searched_to=reached if not more and not forward else None,
    )  # fmt: skip


def _rows(
    reader: Any, wanted: Filter, start: int, stop: int, n: int, forward: bool
) -> tuple[list[Any], int | None]:
    """Up to n rows with start < seq <= stop; how far it looked if it had to give up."""
    order = "ASC" if forward else "DESC"
    reached = None
    if not wanted.stream:
        found = [
            reader.execute(f"SELECT seq {PART} {where} ORDER BY seq {order} LIMIT ?", (*v, start, stop, n))
            for where, v in _ranges(wanted)
        ]
        # a place in an index each; the rows, whose pages lie far apart, only of those that are shown
        chosen = sorted((seq for part in found for (seq,) in part), reverse=not forward)[:n]
    else:
        stretch, values, fits, told = _stretch(wanted, start, stop, order)
        sql = f"SELECT seq FROM ({stretch}) {fits} ORDER BY seq {order} LIMIT ?"
        chosen = [seq for (seq,) in reader.execute(sql, (*values, *told, n))]
        if len(chosen) < n:
            looked, last = reader.execute(f"SELECT count(*), min(seq) FROM ({stretch})", values).fetchone()
            reached = last if looked == STRETCH else None
    one = f"SELECT {COLUMNS} FROM event WHERE seq = ?"
    return [reader.execute(one, (seq,)).fetchone() for seq in chosen], reached


PART = "FROM event WHERE"


def _ranges(wanted: Filter) -> list[tuple[str, tuple[str, ...]]]:
    """The ranges of one index each that hold exactly what is looked for, in any stream."""
    names = wanted.names
    if wanted.actor:
        kinds = EVENT_NAMES if names is None else names
        return [("actor = ? AND type = ? AND seq > ? AND seq <= ?", (wanted.actor, kind)) for kind in kinds]
    if names is None:
        return [("seq > ? AND seq <= ?", ())]
    return [("type = ? AND seq > ? AND seq <= ?", (name,)) for name in names]


def _stretch(
    wanted: Filter, start: int, stop: int, order: str
) -> tuple[str, tuple[Any, ...], str, tuple[str, ...]]:
    """So much of a stream, read from its index alone, with its values; what of it fits, with those values."""
    stretch = (
        f"SELECT seq, type, actor {PART} stream = ? AND seq > ? AND seq <= ? ORDER BY seq {order} "
        f"LIMIT {STRETCH}"
    )
    conditions, told = ["1"], list[str]()
    if wanted.actor:
        conditions.append("actor = ?")
        told.append(wanted.actor)
    if wanted.type:
        conditions.append("type = ?")
        told.append(wanted.type)
    elif not wanted.steps:
        conditions.append(f"type NOT IN ({','.join('?' * len(NUMERIC_NAMES))})")
        told += NUMERIC_NAMES
    return stretch, (wanted.stream, start, stop), f"WHERE {' AND '.join(conditions)}", tuple(told)


def _count(reader: Any, wanted: Filter, low: int, high: int) -> tuple[int, bool]:
    """How many match, counted no further than COUNTED."""
    if wanted.stream:
        stretch, values, fits, told = _stretch(wanted, low, high, "DESC")
        looked = f"SELECT count(*) FROM ({stretch})"
        (total,) = reader.execute(f"{looked} {fits}", (*values, *told)).fetchone()
        capped = total > COUNTED or reader.execute(looked, values).fetchone()[0] == STRETCH
        return min(total, COUNTED), capped
    if wanted.names is None and not wanted.actor:
        return min(high - low, COUNTED), high - low > COUNTED  # seq has no gaps
    total = 0
    for where, values in _ranges(wanted):
        sql = f"SELECT count(*) FROM (SELECT 1 {PART} {where} LIMIT ?)"
        total += int(reader.execute(sql, (*values, low, high, COUNTED + 1 - total)).fetchone()[0])
        if total > COUNTED:
            return COUNTED, True
    return total, False


@dataclass(frozen=True, slots=True)
class Around:
    """What stands beside a fact."""

    previous: int | None  # in its stream
    next: int | None
    effects: list[Recorded]  # facts it caused


def around(log: Log, fact: Recorded) -> Around:
    """The neighbours in its stream, and what it led to."""
    here = (fact.stream, fact.seq)
    before = log.reader.execute(
        "SELECT seq FROM event WHERE stream = ? AND seq < ? ORDER BY seq DESC LIMIT 1", here
    ).fetchone()
    behind = log.reader.execute(
        "SELECT seq FROM event WHERE stream = ? AND seq > ? ORDER BY seq LIMIT 1", here
    ).fetchone()
    caused = log.reader.execute(
        f"SELECT {COLUMNS} FROM event WHERE causation = ? ORDER BY seq LIMIT ?", (fact.seq, PAGE)
    ).fetchall()
    return Around(before[0] if before else None, behind[0] if behind else None, [recorded(r) for r in caused])
