"""The curves aside: all roll-ups folded again from the first step, beside those that are live."""

import gc
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import Any

from core.logbook import keep_curves
from db import rollups
from db.engine import driver
from events.log import Log
from events.types import StepsCompleted
from projections import curves

STRIDE = 50_000  # facts between two words of progress
FACTS_AT_ONCE = 1_000  # of steps, merged in memory before their rows are touched
ROWS_AT_ONCE = 1_000  # compared as a whole, so long as they are the same

Progress = Callable[[int, int], None]
Row = tuple[Any, ...]
Differing = tuple[Row, Row | None, Row | None]  # key, live row, folded row


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
        with _uncollected():
            while some := list(islice(facts, FACTS_AT_ONCE)):
                parts, whole = Parts("rollup"), Parts("history")
                keep_curves(self._made, some, parts.add, whole.add)
                for added in (parts, whole):
                    added.write(self._made)
        self._made.execute("COMMIT")
        self.seq = to

    def compare(self, tell: Progress) -> dict[str, list[Differing]]:
        """Fold all there is; then each table with what differs in it, of one instant."""
        while self.seq < (head := self._log.head()):
            self.fold(min(self._log.before_next(self.seq) + STRIDE, head))
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


@contextmanager
def _uncollected() -> Iterator[None]:
    """Tens of thousands of tuples without a cycle: the collector would go through them again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


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
