"""The audit: pages of the history by filter, each a few index seeks however long the log is.

Never OFFSET, never an unbounded COUNT: pages hang on seq, counts stop at 10,000, and a search that no index
answers looks at a bounded stretch and says how far it looked.
"""

import heapq
from collections.abc import Mapping, Sequence
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
    names = wanted.names
    if not wanted.stream and not wanted.actor:
        if names is None:
            return _select(reader, "", (), start, stop, n, order), None
        pages = [_select(reader, "type = ? AND", (name,), start, stop, n, order) for name in names]
        merged = heapq.merge(*pages, key=lambda row: row[0], reverse=not forward)
        return [row for row, _ in zip(merged, range(n), strict=False)], None
    where, values = _driver(wanted)
    stretch = _select(reader, where, values, start, stop, STRETCH, order, "seq, type, actor")
    chosen = [r[0] for r in stretch if _fits(r, wanted)][:n]
    gave_up = len(stretch) == STRETCH and len(chosen) < n
    rows = [reader.execute(f"SELECT {COLUMNS} FROM event WHERE seq = ?", (s,)).fetchone() for s in chosen]
    return rows, stretch[-1][0] if gave_up else None


def _driver(wanted: Filter) -> tuple[str, tuple[str, ...]]:
    """The index that answers most of the question."""
    if wanted.stream:
        return "stream = ? AND", (wanted.stream,)
    if wanted.type:
        return "type = ? AND", (wanted.type,)
    return "actor = ? AND", (wanted.actor,)


def _fits(row: Sequence[Any], wanted: Filter) -> bool:
    names = wanted.names
    return (names is None or row[1] in names) and (not wanted.actor or row[2] == wanted.actor)


def _select(
    reader: Any, where: str, values: tuple[str, ...], start: int, stop: int, n: int, order: str,
    columns: str = COLUMNS,
) -> list[Any]:  # fmt: skip
    sql = f"SELECT {columns} FROM event WHERE {where} seq > ? AND seq <= ? ORDER BY seq {order} LIMIT ?"
    rows: list[Any] = reader.execute(sql, (*values, start, stop, n)).fetchall()
    return rows


def _count(reader: Any, wanted: Filter, low: int, high: int) -> tuple[int, bool]:
    """How many match, counted no further than COUNTED."""
    if not wanted.stream and not wanted.actor:
        if wanted.names is None:
            return min(high - low, COUNTED), high - low > COUNTED  # seq has no gaps
        total = 0
        for name in wanted.names:
            sql = "SELECT count(*) FROM (SELECT 1 FROM event WHERE type = ? AND seq > ? AND seq <= ? LIMIT ?)"
            total += int(reader.execute(sql, (name, low, high, COUNTED + 1 - total)).fetchone()[0])
            if total > COUNTED:
                return COUNTED, True
        return total, False
    where, values = _driver(wanted)
    stretch = _select(reader, where, values, low, high, STRETCH, "DESC", "seq, type, actor")
    total = sum(1 for row in stretch if _fits(row, wanted))
    return min(total, COUNTED), total > COUNTED or len(stretch) == STRETCH


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
