"""Rebuilding: fold everything again from the log, compare it with what was live, replace it."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from core.logbook import backfill, keep_curves, state_at
from db import rollups
from db.engine import driver
from events.log import Log
from events.types import StepsCompleted
from projections.fold import PROJECTIONS, State, digest, plain

#: As bytes: a damaged note need be no text.
READ_STATE = (
    "SELECT CAST(projection AS BLOB), version, seq, digest, CAST(data AS BLOB) FROM snapshot ORDER BY seq"
)
WRITE_STATE = (
    "INSERT OR REPLACE INTO snapshot (projection, version, seq, digest, data) VALUES (?, ?, ?, ?, ?)"
)

STRIDE = 50_000  # facts between two words of progress
DIFFERENCES = 1_000  # told of each table; all of them are mended
ROWS_A_WRITE = 250  # mended in one transaction: no append waits for longer

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
    rows = [
        (name, module.VERSION, state.seq, digest(part := getattr(state, name)), _text(part))
        for name, module in PROJECTIONS.items()
    ]
    for row in rows:  # of a long log some are megabytes: between two of them others append
        with log.transaction() as db:
            db.execute("DELETE FROM snapshot WHERE projection = ?", row[:1])
            db.execute(WRITE_STATE, row)


def compare(log: Log) -> list[Difference]:
    """The noted states against a fold from the first fact."""
    found: list[Difference] = []
    states: dict[int, State] = {}
    head = log.head()
    for raw, version, seq, stored, data in log.reader.execute(READ_STATE).fetchall():
        name = raw.decode(errors="replace")
        if name not in PROJECTIONS or version != PROJECTIONS[name].VERSION:
            continue  # another fold's note: a cache of nothing we have
        if not 0 <= seq <= head:
            found.append(Difference(name, head, name, f"noted at #{seq}", f"the log ends at #{head}"))
            continue
        if seq not in states:
            states[seq] = state_at(log, seq)
        folded = getattr(states[seq], name)
        try:
            live = msgspec.json.decode(data)
        except ValueError:
            live = None  # differs from any state
        if digest(folded) != stored or plain(live) != msgspec.json.decode(_text(folded)):
            place, was, should = first_difference(live, msgspec.json.decode(_text(folded)), name)
            found.append(Difference(name, seq, place, was, should))
    return found


def rebuild(log: Log, tell: Progress = lambda seq, head: None) -> list[Difference]:
    """Compare everything, then replace what differs; gives what differed.

    The curves are folded aside while others read and write. `tell(seq, head)`: how far that has come.
    A write holds others up for 250 rows at most; all that is behind the head is folded before it begins.
    """
    while backfill(log):
        continue  # an older log's history, which is no difference
    found = compare(log)
    with contextlib.closing(Aside(log)) as aside:
        wrong = aside.compare(tell)
        found += _told(aside, wrong)
        for name, differing in wrong.items():
            for start in range(0, len(differing), ROWS_A_WRITE):
                aside.mend(name, [key for key, *_ in differing[start : start + ROWS_A_WRITE]])
    keep(log, state_at(log))
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
        self._made.execute("BEGIN")
        keep_curves(self._made, self._log.read(self.seq, to=to, types=(StepsCompleted,)))
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
        pairs = _pairs(self._log.reader.execute(sql), self._made.execute(sql), n)
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


def _text(state: Any) -> str:
    return msgspec.json.encode(plain(state)).decode()


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
