"""The log: append. Acknowledged means committed; what is committed never changes."""

import contextlib
import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from db.engine import BUSY_MS, LogDamaged, busy, connect, damage, driver, immediate, retry_busy, waits
from db.migrate import migrate
from db.reserve import LogFull
from events.chain import GENESIS, link
from events.codec import stored
from events.reading import COLUMNS, Reading
from events.types import Event, Recorded

# OR ROLLBACK, as the triggers do: ABORT copies every page that a row touches, to undo that one row
INSERT_EVENT = f"INSERT OR ROLLBACK INTO event ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
INSERT_COMMIT = (
    "INSERT OR ROLLBACK INTO commit_log (first_seq, last_seq, at, prev_hash, hash) VALUES (?, ?, ?, ?, ?)"
)
INSERT_COMMAND = "INSERT INTO command (key, first_seq, last_seq, request_hash, at) VALUES (?, ?, ?, ?, ?)"
NEWEST = "SELECT MAX(seq), (SELECT hash FROM commit_log ORDER BY first_seq DESC LIMIT 1) FROM event"

#: So long may the WAL grow, in pages, before it goes into the database: SQLite's own, and on a full disk.
USUAL_PAGES, TIGHT_PAGES = 1000, 16

#: Runs inside the appending transaction: keeps rows that must never lag behind (curves).
Inline = Callable[[Any, Sequence[Recorded]], None]


class Conflict(Exception):
    """Something the decision rested on is newer than what it saw: fold again and decide again."""


class KeyReused(Exception):
    """One command key, two different commands."""


def now_us() -> int:
    """Wall clock, µs since the epoch."""
    return time.time_ns() // 1000


class Log(Reading):
    """One process's access to the log; safe between threads. `actor` signs what is appended.

    On a full disk the reserve is given back and the append done again; see `events.room`.

    `inline` sees the facts of `inline_types`, and is not called for a commit without any.
    `busy_ms`: how long a write waits for another process's, each of its five times.
    """

    def __init__(
        self,
        path: Path,
        actor: str,
        *,
        inline: Inline | None = None,
        inline_types: tuple[type[Event], ...] = (Event,),
        create: bool = False,
        busy_ms: int = BUSY_MS,
    ) -> None:
        super().__init__(path)
        self.actor = actor
        self._inline, self._inline_types = inline, inline_types
        self._lock = threading.Lock()
        try:
            self._write = self.room.make(lambda: connect(path, create=create, busy_ms=busy_ms))
            self.room.make(lambda: migrate(self._write))
        except LogFull:
            raise
        except damage() as error:
            if busy(error):
                raise
            raise LogDamaged(f"{path}: its schema is not the one it was made with ({error})") from error

    # -- append -----------------------------------------------------------------------------------

    def append(
        self,
        *facts: Event,
        unless: tuple[type[Event], ...] = (),
        after: int | None = None,
        key: str | None = None,
        causation: int | None = None,
        correlation: int | None = None,
        actor: str | None = None,
    ) -> list[int]:
        """Append facts in one commit; gives their seqs once they are on the disk. No facts: nothing happens.

        `unless` + `after`: refused with Conflict when a fact of these types is newer than `after`.
        `key`: the same key and facts again append nothing and give the first answer; other facts under it
        raise KeyReused. LogFull: the disk has no room for them, not even with the reserve.
        """
        if not facts:
            return []
        encoded = list(map(stored, facts))
        asked = any(issubclass(kind, self._inline_types) for kind in set(map(type, facts)))
        inline = self._inline if asked else None
        who = actor or self.actor
        if self.room.was_tight():
            with self._lock:
                self._write.execute(f"PRAGMA wal_autocheckpoint={USUAL_PAGES}")

        def commit() -> list[int]:
            with self._lock, immediate(self._write) as db:
                if key is not None and (answer := self._answer(db, key, encoded)) is not None:
                    return answer
                newest, previous = db.execute(NEWEST).fetchone()
                head = newest or 0
                if after is not None and after < head and unless:
                    self._refuse_newer(db, unless, after)
                first, last, at = head + 1, head + len(encoded), now_us()
                rows = [
                    (seq, at, who, stream, name, version, causation, correlation, data)
                    for seq, (stream, name, version, data) in enumerate(encoded, first)
                ]
                previous = previous or GENESIS
                db.executemany(INSERT_EVENT, rows)
                db.execute(INSERT_COMMIT, (first, last, at, previous, link(previous, first, last, at, rows)))
                if key is not None:
                    db.execute(INSERT_COMMAND, (key, first, last, request_hash(encoded), at))
                if inline is not None:
                    inline(db, [
                        Recorded(row[0], at, who, fact)
                        for row, fact in zip(rows, facts, strict=True)
                        if isinstance(fact, self._inline_types)
                    ])
                return list(range(first, last + 1))

        # random: two writers that met once should not meet again
        return self.room.make(
            lambda: retry_busy(commit, lambda n: time.sleep(random.uniform(0.05, 0.2) * (n + 1))),
            self._relieve,
        )

    def _relieve(self) -> None:
        """What the WAL holds goes into the database, now and often: it begins anew and need not grow."""
        if hasattr(self, "_write"):
            with contextlib.suppress(*damage()), self._lock:  # this may find no space either
                self._write.execute(f"PRAGMA wal_autocheckpoint={TIGHT_PAGES}")
                self._write.execute("PRAGMA wal_checkpoint(PASSIVE)")

    @staticmethod
    def _answer(db: Any, key: str, encoded: list[tuple[str, str, int, str]]) -> list[int] | None:
        row = db.execute(
            "SELECT first_seq, last_seq, request_hash FROM command WHERE key = ?", (key,)
        ).fetchone()
        if row is None:
            return None
        if row[2] != request_hash(encoded):
            raise KeyReused(
                f"the command key {key!r} was used for another command (facts #{row[0]} to #{row[1]})"
            )
        return list(range(row[0], row[1] + 1))

    @staticmethod
    def _refuse_newer(db: Any, unless: tuple[type[Event], ...], after: int) -> None:
        names = [cls.__name__ for cls in unless]
        marks = ",".join("?" * len(names))
        row = db.execute(
            f"SELECT seq, type FROM event WHERE type IN ({marks}) AND seq > ? LIMIT 1", (*names, after)
        ).fetchone()
        if row is not None:
            raise Conflict(f"{row[1]} (#{row[0]}) is newer than #{after}, on which this was decided")

    # -- liveness: overwritten in place, never a fact ---------------------------------------------

    def beat(
        self,
        role: str,
        pid: int,
        phase: str,
        step: int | None = None,
        sample: str | None = None,
        progress: int | None = None,
    ) -> bool:
        """Overwrite a role's heartbeat; the last sample stays unless a new one comes.

        False: the disk is full, or another process holds the write lock; nobody need die of that, for the
        age of the last one tells. `progress`: a number that changes when the work has moved, and only then.
        """
        values = (role, pid, phase, step, now_us(), sample, progress)

        def overwrite() -> None:
            with self.transaction() as db:
                db.execute(
                    "INSERT INTO heartbeat (role, pid, phase, step, at, sample, progress) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT (role) DO UPDATE SET pid = excluded.pid, phase = excluded.phase, "
                    "step = excluded.step, at = excluded.at, sample = COALESCE(excluded.sample, sample), "
                    "progress = excluded.progress",
                    values,
                )

        try:
            self.room.make(overwrite, self._relieve, waits=False)
        except (LogFull, driver().OperationalError) as error:
            if not waits(error):
                raise
            return False
        return True

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """A short write transaction on rows that are no facts (heartbeats, caches). Never over other work."""
        with self._lock, immediate(self._write) as db:
            yield db

    def close(self) -> None:
        """Close this thread's connections."""
        self._write.close()
        super().close()


def request_hash(encoded: list[tuple[str, str, int, str]]) -> bytes:
    """What tells one command from another: of (stream, type, version, payload) of its facts."""
    return hashlib.sha256(repr(encoded).encode()).digest()
