"""Rebuilding: fold everything again from the log, compare it with what was live, replace it."""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, islice
from typing import Any

import msgspec

from core.logbook import backfill, keep_curves
from db import rollups
from db.engine import driver
from events.log import Log
from events.types import StepsCompleted
from projections import curves
from projections.fold import EMPTY, FOLDED, PROJECTIONS, State, canonical, fold

#: As bytes: a damaged note need be no text.
READ_STATE = (
    "SELECT CAST(projection AS BLOB), version, seq, digest, CAST(data AS BLOB) FROM snapshot ORDER BY seq"
)
WRITE_STATE = (
    "INSERT OR REPLACE INTO snapshot (projection, version, seq, digest, data) VALUES (?, ?, ?, ?, ?)"
)

STRIDE = 50_000  # facts between two words of progress
DIFFERENCES = 1_000  # told of each table; all of them are mended
ROWS_A_WRITE = 500  # mended in one transaction: no append waits for longer
FACTS_AT_ONCE = 1_000  # of steps, merged in memory before the table aside is touched
ROWS_AT_ONCE = 1_000  # compared as a whole, so long as they are the same

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where what was live is not what the log says."""

    projection: str
    seq: int
    path: str
    live: Any
    folded: Any


def keep(log: Log, state: State) -> None:
    """Note the live state, one row a projection; the older ones go."""
    rows = []
    for name, module in PROJECTIONS.items():
        text = canonical(getattr(state, name))
        rows.append((name, module.VERSION, state.seq, sha256(text).digest(), text.decode()))
    with log.transaction() as db:
        db.execute("DELETE FROM snapshot")
        db.executemany(WRITE_STATE, rows)


def compare(log: Log) -> list[Difference]:
    """The noted states against a fold from the first fact."""
    return _compare(log)[0]


def _compare(log: Log) -> tuple[list[Difference], State]:
    """What differs, and the folded state of the newest note."""
    found: list[Difference] = []
    state, head = EMPTY, log.head()
    for raw, version, seq, stored, data in log.reader.execute(READ_STATE).fetchall():  # in order
        name = raw.decode(errors="replace")
        if name not in PROJECTIONS or version != PROJECTIONS[name].VERSION:
            continue  # another fold's note: a cache of nothing we have
        if not 0 <= seq <= head:
            found.append(Difference(name, head, name, f"noted at #{seq}", f"the log ends at #{head}"))
            continue
        state = fold(log.read(state.seq, to=seq, types=FOLDED), state)
        text = canonical(getattr(state, name))
        if sha256(text).digest() == stored and text == data:
            continue
        try:
            live = msgspec.json.decode(data)
        except ValueError:
            live = None  # differs from any state
        folded = msgspec.json.decode(text)
        if sha256(text).digest() != stored or live != folded:
            place, was, should = first_difference(live, folded, name)
            found.append(Difference(name, seq, place, was, should))
    return found, state


def rebuild(log: Log, tell: Progress = lambda seq, head: None) -> list[Difference]:
    """Compare everything, then replace what differs; gives what differed.

    The curves are folded aside while others read and write. `tell(seq, head)`: how far that has come.
    A write holds others up for 500 rows at most; all that is behind the head is folded before it begins.
    """
    while backfill(log):
        continue  # an older log's history, which is no difference
    found, state = _compare(log)
    with contextlib.closing(Aside(log)) as aside:
        wrong = aside.compare(tell)
        found += _told(aside, wrong)
        for name, differing in wrong.items():
            for start in range(0, len(differing), ROWS_A_WRITE):
                aside.mend(name, [key for key, *_ in differing[start : start + ROWS_A_WRITE]])
    keep(log, fold(log.read(state.seq, types=FOLDED), state))
    return found


def compare_curves(log: Log, tell: Progress = lambda seq, head: None) -> list[Difference]:
    """The roll-ups against the steps that they are made of: these are folded aside, nothing is changed."""
    with contextlib.closing(Aside(log)) as aside:
        return _told(aside, aside.compare(tell))


Row = tuple[Any, ...]
Differing = tuple[Row, Row | None, Row | None]  # key, live row, folded row


def _told(aside: "Aside", wrong: dict[str, list[Differing]]) -> list[Difference]:
    return [
        Difference("curves", aside.seq, f"{name}/{'/'.join(map(str, key))}", live, folded)
        for name, differing in wrong.items()
        for key, live, folded in differing[:DIFFERENCES]
    ]


class Aside:
    """The curves' tables in a database of their own (SQLite deletes it), folded from the first step."""

    def __init__(self, log: Log) -> None:
        self.seq = 0
        self._log = log
        self._made = driver().connect("", isolation_level=None)
        for name, *_ in rollups.TABLES:
            asked = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?"
            self._made.execute(log.reader.execute(asked, (name,)).fetchone()[0])
        self._made.execute("PRAGMA cache_size=-65536")
        self._made.execute("PRAGMA synchronous=0")

    def fold(self, to: int) -> None:
        """In the order of the appends: sums are the same bits."""
        facts = self._log.read(self.seq, to=to, types=(StepsCompleted,))
        self._made.execute("BEGIN")
        while some := list(islice(facts, FACTS_AT_ONCE)):
            parts, whole = Parts("rollup"), Parts("history")
            keep_curves(self._made, some, parts.add, whole.add)
            for collected in (parts, whole):
                collected.write(self._made)
        self._made.execute("COMMIT")
        self.seq = to

    def compare(self, tell: Progress) -> dict[str, list[Differing]]:
        """Fold all there is; then each table with what differs in it, of one instant."""
        while self.seq < (head := self._log.head()):
            self.fold(min(self.seq + STRIDE, head))
            tell(self.seq, head)
        reader = self._log.reader
        reader.execute("BEGIN")  # what was live and what it was made of
        try:
            self.fold(self._log.head())
            kept = rollups.TABLES if rollups.backfilled(reader) is None else rollups.TABLES[:1]
            return {name: list(self.differing(name)) for name, *_ in kept}
        finally:
            reader.execute("COMMIT")

    def differing(self, table: str) -> Iterator[Differing]:
        """(key, live row, folded row) of all that are not the same, in the order of their keys."""
        key, columns = _shape(table)
        sql = f"SELECT {columns} FROM {table} ORDER BY {key}"
        n = key.count(",") + 1
        live, folded = self._log.reader.execute(sql), self._made.execute(sql)
        one, other = live.fetchmany(ROWS_AT_ONCE), folded.fetchmany(ROWS_AT_ONCE)
        while one and one == other:
            one, other = live.fetchmany(ROWS_AT_ONCE), folded.fetchmany(ROWS_AT_ONCE)
        pairs = _pairs(chain(one, live), chain(other, folded), n)
        return (((live or folded)[:n], live, folded) for live, folded in pairs)  # type: ignore[index]

    def mend(self, table: str, keys: list[Row]) -> None:
        """Put the folded rows of these keys in the place of the live ones, as of this instant."""
        key, columns = _shape(table)
        at = " AND ".join(f"{name} = ?" for name in key.split(", "))
        marks = ",".join("?" * (columns.count(",") + 1))
        self.fold(self._log.head())
        with self._log.transaction() as db:
            self.fold(self._log.head())  # nobody writes now
            for each in keys:
                db.execute(f"DELETE FROM {table} WHERE {at}", each)
                row = self._made.execute(f"SELECT {columns} FROM {table} WHERE {at}", each).fetchone()
                if row is not None:
                    db.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", row)

    def close(self) -> None:
        self._made.close()


class Parts:
    """What many facts add to a table, by key: its rows are written once instead of with every fact."""

    def __init__(self, table: str) -> None:
        key, columns = _shape(table)
        names = key.split(", ")
        self._n = len(names)
        self._parts: defaultdict[Row, list[Row]] = defaultdict(list)
        self._read = f"SELECT {columns} FROM {table} WHERE metric = ? AND lvl = ? AND bucket BETWEEN ? AND ?"
        marks = ",".join("?" * (columns.count(",") + 1))
        self._write = f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({marks})"

    def add(self, _connection: Any, rows: Iterable[Row]) -> None:
        """As `rollups.merge` is called."""
        n, parts = self._n, self._parts
        for row in rows:
            parts[row[:n]].append(row[n:])

    def write(self, connection: Any) -> None:
        """Merge it with the rows that are there: most keys are new, so they are not asked for one by one."""
        n, buckets = self._n, defaultdict[Row, list[int]](list)
        for metric, level, bucket, *_ in self._parts:
            buckets[metric, level].append(bucket)
        live: dict[Row, Row] = {}
        for of, some in buckets.items():
            for row in connection.execute(self._read, (*of, min(some), max(some))):
                if (key := row[:n]) in self._parts:
                    live[key] = row[n:]
        rows = [(*key, *curves.merged(live.get(key), parts)) for key, parts in self._parts.items()]
        connection.executemany(self._write, rows)


def _shape(table: str) -> tuple[str, str]:
    return next((key, columns) for name, key, columns in rollups.TABLES if name == table)


def _pairs(live: Iterator[Row], folded: Iterator[Row], n: int) -> Iterator[tuple[Row | None, Row | None]]:
    """Rows of two tables by their key, the first n columns; only those that are not the same."""
    one, other = next(live, None), next(folded, None)
    while one is not None or other is not None:
        if one == other:
            one, other = next(live, None), next(folded, None)
        elif other is None or (one is not None and one[:n] < other[:n]):
            yield one, None
            one = next(live, None)
        elif one is None or other[:n] < one[:n]:
            yield None, other
            other = next(folded, None)
        else:
            yield one, other
            one, other = next(live, None), next(folded, None)


def first_difference(live: Any, folded: Any, path: str) -> tuple[str, Any, Any]:
    """The first place where two plain values differ."""
    if isinstance(live, dict) and isinstance(folded, dict):
        for key in sorted(live.keys() | folded.keys()):
            if live.get(key) != folded.get(key):
                return first_difference(live.get(key), folded.get(key), f"{path}.{key}")
    if isinstance(live, list) and isinstance(folded, list) and len(live) == len(folded):
        for n, (one, other) in enumerate(zip(live, folded, strict=True)):
            if one != other:
                return first_difference(one, other, f"{path}.{n}")
    return path, live, folded
