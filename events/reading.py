"""Reading the log: facts in order, one fact, the newest; as many readers as there are threads."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from db.engine import LogUnreadable, connect
from db.migrate import schema_version
from events.codec import Decoders, UnknownFact
from events.room import Room
from events.types import Event, Recorded, Stored

COLUMNS = "seq, at, actor, stream, type, version, causation, correlation, data"
#: What a fact is made of; to fetch the others as well would cost a fifth more.
RECORDED = "seq, at, actor, type, version, data"
LARGEST_WINDOW = 65_536  # positions of the log that one reading of several types looks at

_DECODERS = Decoders()


class Reading:
    """One process's way to read the log; each thread has a connection of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.room = Room(path)
        self._local = threading.local()

    @property
    def reader(self) -> Any:
        """This thread's own read-only connection."""
        if not hasattr(self._local, "connection"):
            self._local.connection = self.room.make(
                lambda: connect(self.path, read_only=True)
            )
        return self._local.connection

    def head(self) -> int:
        """The newest seq; 0 for an empty log."""
        return int(self.reader.execute("SELECT COALESCE(MAX(seq), 0) FROM event").fetchone()[0])

    def change(self) -> int:
        """A number that changes when another connection has committed: a cheap hint, 4 µs."""
        return int(self.reader.execute("PRAGMA data_version").fetchone()[0])

    def read(
        self,
        after: int = 0,
        *,
        to: int | None = None,
        types: Iterable[type[Event]] | None = None,
        but: Iterable[type[Event]] = (),
        stream: str | None = None,
        page: int = 2000,
    ) -> Iterator[Recorded]:
        """Facts with `after < seq <= to`, in order; pages by seq, so no read transaction stays open.

        `types`: these alone; `but`: all but these. Raises LogUnreadable at the first of them that a newer
        evertrain wrote.
        """
        names = None if types is None else [cls.__name__ for cls in types]
        if stream is None and names is not None and len(names) > 1:
            pages = self._windows(names, after, to, page)
        else:
            pages = self._pages(names, [cls.__name__ for cls in but], stream, after, to, page)
        return chain.from_iterable(map(unpack, pages))

    def _pages(
        self,
        names: list[str] | None,
        but: list[str],
        stream: str | None,
        after: int,
        to: int | None,
        page: int,
    ) -> Iterator[list[Any]]:
        """Rows of one type, of all or of all but some, of one stream or of all, so many at a time."""
        where, values = "", list[Any]()
        if names is not None:
            # `+type`: inside a stream the stream's index is the shorter way, whatever the planner guesses
            where += f" AND {'' if stream is None else '+'}type IN ({','.join('?' * len(names))})"
            values += names
        if but:
            # as they lie: to pass over a row, whose numbers are on other pages, takes 0.1 µs
            where += f" AND +type NOT IN ({','.join('?' * len(but))})"
            values += but
        if stream is not None:
            where += " AND stream = ?"
            values.append(stream)
        if to is not None:
            where += " AND seq <= ?"
            values.append(to)
        sql = f"SELECT {RECORDED} FROM event WHERE seq > ?{where} ORDER BY seq LIMIT {page}"
        while True:
            rows = self.reader.execute(sql, (after, *values)).fetchall()
            yield rows
            if len(rows) < page:
                return
            after = rows[-1][0]

    def _windows(self, names: list[str], after: int, to: int | None, page: int) -> Iterator[list[Any]]:
        """Rows of several types, window by window.

        Each type's index gives its part: only a window is sorted, and what lies between is never touched.
        """
        marks = ",".join("?" * len(names))
        sql = f"SELECT {RECORDED} FROM event WHERE type IN ({marks}) AND seq > ? AND seq <= ? ORDER BY seq"
        end = self.head() if to is None else min(to, self.head())
        window = page
        while after < end:
            upper = min(after + window, end)
            rows = self.reader.execute(sql, (*names, after, upper)).fetchall()
            yield rows
            after = upper if rows else self.before_next(upper)
            if len(rows) < page:
                window = min(2 * window, LARGEST_WINDOW)

    def before_next(self, seq: int) -> int:
        """The position just before the next fact: `seq` itself, but where a damaged log has a hole."""
        (found,) = self.reader.execute("SELECT MIN(seq) FROM event WHERE seq > ?", (seq,)).fetchone()
        return seq if found is None else int(found) - 1

    def get(self, seq: int) -> Stored | None:
        """One fact with its whole envelope. Raises LogUnreadable when a newer evertrain wrote it."""
        row = self.reader.execute(f"SELECT {COLUMNS} FROM event WHERE seq = ?", (seq,)).fetchone()
        if row is None:
            return None
        seq, at, actor, stream, name, version, causation, correlation, data = row
        (found,) = unpack([(seq, at, actor, name, version, data)])
        return Stored(seq, at, actor, found.event, stream, causation, correlation)

    def newest(
        self, cls: type[Event], *, stream: str | None = None, to: int | None = None
    ) -> Recorded | None:
        """The newest fact of a type, of one stream if given, up to a position if given."""
        found = self.last(1, cls, stream=stream, to=to)
        return found[0] if found else None

    def last(
        self, n: int, cls: type[Event], *, stream: str | None = None, to: int | None = None
    ) -> list[Recorded]:
        """The newest `n` facts of a type, oldest first."""
        # `+type`: inside a stream the stream's index is the shorter way to its newest facts
        where, values = (
            "type = ?" if stream is None else "+type = ? AND stream = ?",
            list[Any]([cls.__name__]),
        )
        if stream is not None:
            values.append(stream)
        if to is not None:
            where += " AND seq <= ?"
            values.append(to)
        sql = f"SELECT {RECORDED} FROM event WHERE {where} ORDER BY seq DESC LIMIT ?"
        return list(unpack(reversed(self.reader.execute(sql, (*values, n)).fetchall())))

    def commit_of(self, seq: int) -> tuple[int, bytes]:
        """(last seq, chain head) of the commit that holds this fact."""
        row = self.reader.execute(
            "SELECT last_seq, hash FROM commit_log WHERE last_seq >= ? ORDER BY last_seq LIMIT 1", (seq,)
        ).fetchone()
        if row is None:
            raise KeyError(f"no commit holds #{seq}")
        return int(row[0]), bytes(row[1])

    def seq_at(self, at: int) -> int:
        """The newest seq whose commit time is not after `at` (µs); 0 when the log begins later."""
        # bisect over seq: the wall clock may step back, so this is for people, never for decisions
        low, high = 0, self.head()
        while low < high:
            middle = (low + high + 1) // 2
            row = self.reader.execute("SELECT at FROM event WHERE seq = ?", (middle,)).fetchone()
            if row is not None and row[0] <= at:
                low = middle
            else:
                high = middle - 1
        return low

    def schema(self) -> int:
        """The schema version of the file."""
        return schema_version(self.reader)

    def heartbeats(self) -> dict[str, dict[str, Any]]:
        """role → {pid, phase, step, at, sample, progress}."""
        names = ("pid", "phase", "step", "at", "sample", "progress")
        rows = self.reader.execute(f"SELECT role, {', '.join(names)} FROM heartbeat").fetchall()
        return {role: dict(zip(names, rest, strict=True)) for role, *rest in rows}

    def close(self) -> None:
        """Close this thread's connection."""
        if hasattr(self._local, "connection"):
            self._local.connection.close()
            del self._local.connection


def unpack(rows: Iterable[Sequence[Any]]) -> Iterator[Recorded]:
    """Rows of the columns RECORDED as facts. Raises LogUnreadable at one that a newer evertrain wrote."""
    decoders = _DECODERS
    try:
        for seq, at, actor, name, version, data in rows:
            yield Recorded(seq, at, actor, decoders[name, version](data))
    except UnknownFact as error:
        raise LogUnreadable(str(error)) from error
