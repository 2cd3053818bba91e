"""The search: facts by filter, newest or oldest first, each page a few index seeks however long the log is.

Never OFFSET, never an unbounded count: whoever asks goes on from a seq, counts stop at a number, and what no
index answers is looked for in a bounded stretch, which says how far it reached.
"""

import heapq
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import msgspec

from events.codec import TYPES
from events.log import Log
from events.types import Stored

FIRST_PAGE, LARGEST_PAGE = 32, 2048  # entries read from one index at a time: few facts are wanted, or all

PAYLOADS = 100  # read at a time for a text
ENTRIES_A_PAYLOAD = 10  # so many facts may be passed over by the indexes for one whose payload is read

#: An index to walk along: a condition, and its values.
Path = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for: all that is given must hold; empty: any fact.

    `text` stands somewhere in the payload as it is stored (JSON); ASCII letters are alike in either case.
    `correlation`: the story that began with this fact, which belongs to it.
    """

    types: tuple[str, ...] | None = None
    streams: tuple[str, ...] | None = None
    actor: str = ""
    correlation: int | None = None
    text: str = ""

    @property
    def paths(self) -> list[Path]:
        """The indexes that answer most of the question."""
        if self.correlation is not None:
            first = (self.correlation,)
            return [("seq = ?", first), ("correlation = ? AND seq <> ?", first * 2)]
        if self.streams is not None:
            return [("stream = ?", (stream,)) for stream in self.streams]
        if self.actor:
            return [("actor = ? AND type = ?", (self.actor, name)) for name in self.types or TYPES]
        return [("1", ())] if self.types is None else [("type = ?", (name,)) for name in self.types]

    @property
    def rest(self) -> Path | None:
        """What the indexes leave open; None: nothing."""
        asked = self.paths[0][0] if self.paths else "1"
        conditions, values = list[str](), list[Any]()
        for column, wanted in (("stream", self.streams), ("type", self.types)):
            if wanted is not None and f"{column} = ?" not in asked:
                conditions.append(f"{column} IN ({','.join('?' * len(wanted))})")
                values += wanted
        if self.actor and not asked.startswith("actor"):
            conditions.append("actor = ?")
            values.append(self.actor)
        if self.text:
            condition, texts = self.has_text
            conditions.append(condition)
            values += texts
        return (" AND ".join(conditions), tuple(values)) if conditions else None

    @property
    def has_text(self) -> Path:
        """The condition that a payload holds the text."""
        return r"data LIKE ? ESCAPE '\'", (f"%{_as_stored(self.text)}%",)


def _as_stored(text: str) -> str:
    """The text as a payload spells it, its wildcards taken literally."""
    spelled = msgspec.json.encode(text).decode()[1:-1]
    for sign in "\\%_":
        spelled = spelled.replace(sign, f"\\{sign}")
    return spelled


def walk(log: Log, query: Query, low: int, high: int, *, forward: bool) -> Iterator[tuple[int, bool]]:
    """(seq, does it match?) of all that the indexes give with low < seq <= high, in order."""
    found = [_along(log, path, query.rest, low, high, forward) for path in query.paths]
    return found[0] if len(found) == 1 else heapq.merge(*found, reverse=not forward)


def _along(
    log: Log, path: Path, rest: Path | None, low: int, high: int, forward: bool
) -> Iterator[tuple[int, bool]]:
    where, values = path
    fits, more = rest if rest is not None else ("1", ())
    order, size = "ASC" if forward else "DESC", FIRST_PAGE
    sql = f"SELECT seq, {fits} FROM event WHERE {where} AND seq > ? AND seq <= ? ORDER BY seq {order} LIMIT ?"
    while True:
        rows = log.reader.execute(sql, (*more, *values, low, high, size)).fetchall()
        yield from ((seq, bool(matches)) for seq, matches in rows)
        if len(rows) < size:
            return
        low, high = (rows[-1][0], high) if forward else (low, rows[-1][0] - 1)
        size = min(4 * size, LARGEST_PAGE)


def find(
    log: Log, query: Query, low: int, high: int, n: int, *, forward: bool, stretch: int
) -> tuple[list[int], int | None]:
    """Up to `n` matches with low < seq <= high, in order; where it gave up after `stretch` facts, or None.

    Of a text they are `stretch` facts that all else fits: to read a payload costs many times an index entry.
    """
    if query.text:
        return _with_text(log, query, low, high, n, forward, stretch)
    if query.rest is None:  # the places alone, each from its index: no row is read that is not shown
        order = "ASC" if forward else "DESC"
        sql = "SELECT seq FROM event WHERE {} AND seq > ? AND seq <= ? ORDER BY seq {} LIMIT ?"
        places = [
            seq
            for where, values in query.paths
            for (seq,) in log.reader.execute(sql.format(where, order), (*values, low, high, n))
        ]
        return sorted(places, reverse=not forward)[:n], None
    if len(query.paths) == 1:
        return _inside(log, query.paths[0], query.rest, low, high, n, forward, stretch)
    found: list[int] = []
    for looked, (seq, matches) in enumerate(walk(log, query, low, high, forward=forward), 1):
        if matches:
            found.append(seq)
        if len(found) == n:
            return found, None
        if looked == stretch:
            return found, seq
    return found, None


def _with_text(
    log: Log, query: Query, low: int, high: int, n: int, forward: bool, stretch: int
) -> tuple[list[int], int | None]:
    others = replace(query, text="")
    places, gave_up = find(
        log, others, low, high, stretch, forward=forward, stretch=ENTRIES_A_PAYLOAD * stretch
    )
    fits, values = query.has_text
    sql = f"SELECT value FROM json_each(?), event WHERE seq = value AND {fits}"
    found: list[int] = []
    for first in range(0, len(places), PAYLOADS):
        some = places[first : first + PAYLOADS]
        fitting = {seq for (seq,) in log.reader.execute(sql, (json.dumps(some), *values))}
        found += [seq for seq in some if seq in fitting]
        if len(found) >= n:
            return found[:n], None
    return found, places[-1] if len(places) == stretch else gave_up


def _inside(
    log: Log, path: Path, rest: Path, low: int, high: int, n: int, forward: bool, stretch: int
) -> tuple[list[int], int | None]:
    """The same along one index, looked through by SQLite itself: a tenth of the time."""
    (where, values), (fits, more) = path, rest
    order, last = ("ASC", "max") if forward else ("DESC", "min")
    columns, inside = "seq, stream, type, actor", "seq > ? AND seq <= ?"
    looked = f"SELECT {columns} FROM event WHERE {where} AND {inside} ORDER BY seq {order} LIMIT ?"
    bounds = (*values, low, high, stretch)
    sql = f"SELECT seq FROM ({looked}) WHERE {fits} LIMIT ?"
    found = [seq for (seq,) in log.reader.execute(sql, (*bounds, *more, n))]
    if len(found) == n:
        return found, None
    seen, end = log.reader.execute(f"SELECT count(*), {last}(seq) FROM ({looked})", bounds).fetchone()
    return found, end if seen == stretch else None


def count(log: Log, query: Query, low: int, high: int, *, most: int, stretch: int) -> tuple[int, bool]:
    """How many match with low < seq <= high, the newest first; True: there are or may be more than that."""
    if query.rest is not None:
        found, gave_up = find(log, query, low, high, most + 1, forward=False, stretch=stretch)
        return min(len(found), most), len(found) > most or gave_up is not None
    if query.paths == [("1", ())]:
        return min(high - low, most), high - low > most  # seq has no gaps
    total = 0
    for where, values in query.paths:
        sql = f"SELECT count(*) FROM (SELECT 1 FROM event WHERE {where} AND seq > ? AND seq <= ? LIMIT ?)"
        total += int(log.reader.execute(sql, (*values, low, high, most + 1 - total)).fetchone()[0])
        if total > most:
            return most, True
    return total, False


def facts(log: Log, seqs: Sequence[int]) -> list[Stored]:
    """The facts at these positions, in this order."""
    return [found for seq in seqs if (found := log.get(seq)) is not None]


def matching(log: Log, query: Query, low: int, high: int, *, most: int | None = None) -> Iterator[Stored]:
    """Every match with low < seq <= high, oldest first; with `most` only so many, the newest."""
    if most is not None:
        newest = (seq for seq, matches in walk(log, query, low, high, forward=False) if matches)
        yield from facts(log, list(islice(newest, most))[::-1])
        return
    for seq, matches in walk(log, query, low, high, forward=True):
        if matches:
            yield from facts(log, [seq])
