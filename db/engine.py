"""Connections to the log's file: one SQLite that is known good, every pragma set and checked."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from db.reserve import LogFull, is_full

T = TypeVar("T")

#: 3.7.0–3.51.2 can lose commits when two connections write and checkpoint a WAL; these branches are repaired.
REPAIRED = ((3, 51, 3), (3, 50, 7), (3, 44, 6))

BUSY_MS = 10_000
WAL_WRITE_LOCK = 120
PRAGMAS = {
    "journal_mode": "wal",
    "synchronous": 2,  # FULL: acknowledged means on the disk
    "busy_timeout": BUSY_MS,
    "foreign_keys": 1,
    "recursive_triggers": 1,  # else REPLACE walks past the trigger that refuses DELETE
    "trusted_schema": 0,
    "temp_store": 2,  # memory: sorting needs no free disk
    "cache_size": -65536,
    "journal_size_limit": 268435456,
}


class LogUnreadable(Exception):
    """The log's file cannot be used: what, where and what to do."""


class LogDamaged(LogUnreadable):
    """SQLite cannot make sense of the file."""


def has_wal_race(version: tuple[int, ...]) -> bool:
    """Does this SQLite version carry the WAL-reset race?"""
    if version < (3, 7, 0) or version == (3, 52, 0):  # 3.52.0 was withdrawn
        return version == (3, 52, 0)
    if version >= REPAIRED[0]:
        return False
    return not any(version[:2] == good[:2] and version >= good for good in REPAIRED)


def driver() -> ModuleType:
    """The SQLite module to use: pysqlite3 where installed, else Python's own when it is new enough."""
    try:
        import pysqlite3
    except ImportError:
        module: ModuleType = sqlite3
    else:
        module = pysqlite3
    version = module.sqlite_version_info
    if has_wal_race(version):
        raise LogUnreadable(
            f"SQLite {module.sqlite_version} can lose committed data (WAL-reset race, 3.7.0 to 3.51.2). "
            "Install pysqlite3 0.6.1 or newer, or a Python built with SQLite 3.51.3 or newer."
        )
    return module


def damage() -> tuple[type[Exception], ...]:
    """What reading a damaged file raises: SQLite's errors, and text that is no UTF-8 (even theirs)."""
    return (driver().DatabaseError, UnicodeDecodeError)


def connect(
    path: Path, *, read_only: bool = False, create: bool = False, busy_ms: int = BUSY_MS
) -> Any:
    """A connection in autocommit mode (`isolation_level=None`): transactions begin by name only.

    Raises LogUnreadable when the file is missing or a pragma did not take effect, LogDamaged when it is no
    database, LogFull when the disk has no room to open it.
    """
    module = driver()
    if not create and not path.exists():
        raise LogUnreadable(f"{path} is not there. Make a workspace with `evertrain init --base DIR`.")
    # Read-only by pragma, not by URI mode: a WAL left by a crash needs a reader that may recover it.
    connection = module.connect(
        str(path), isolation_level=None, check_same_thread=False, timeout=busy_ms / 1000
    )
    try:
        for name, wanted in (PRAGMAS | {"busy_timeout": busy_ms}).items():
            connection.execute(f"PRAGMA {name}={wanted}")
            got = connection.execute(f"PRAGMA {name}").fetchone()[0]
            if got != wanted:
                raise LogUnreadable(
                    f"{path}: PRAGMA {name} is {got!r} instead of {wanted!r}. The log needs a local file "
                    "system with locks and shared memory (no network share)."
                )
        if read_only:
            connection.execute("PRAGMA query_only=1")
    except damage() as error:
        connection.close()
        if is_full(error, path):
            raise LogFull(path) from error  # its WAL's shared memory found no room: nothing is damaged
        raise LogDamaged(
            f"{path} cannot be read ({error}). Stop evertrain and restore the newest backup: "
            "`evertrain backup restore NEW_FOLDER --target FOLDER_OF_BACKUPS`."
        ) from error
    except LogUnreadable:
        connection.close()
        raise
    return connection


class immediate:
    """A write transaction: the write lock is taken at once, so nothing read inside can be stale."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def __enter__(self) -> Any:
        self._connection.execute("BEGIN IMMEDIATE")
        return self._connection

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")


def copy_database(source: Path, target: Path) -> None:
    """A copy of a database as of one moment, while others go on writing (SQLite's online backup).

    `target` must not exist; it becomes one file with no journal beside it, on the disk when this returns.
    Raises LogDamaged when SQLite's own check finds the copy unsound.
    """
    reading = connect(source, read_only=True)
    try:
        writing = driver().connect(str(target), isolation_level=None)
        try:
            reading.backup(writing)
            writing.execute("PRAGMA journal_mode=DELETE")
            found = [row[0] for row in writing.execute("PRAGMA integrity_check(3)")]
        finally:
            writing.close()
    finally:
        reading.close()
    if found != ["ok"]:
        said = "; ".join(map(str, found))
        raise LogDamaged(f"{source}: its copy is unsound ({said}): run `evertrain verify`")
    with target.open("rb") as file:
        os.fsync(file.fileno())


def busy(error: BaseException) -> bool:
    """Is this the lock of another process, held past the time-out?"""
    return "locked" in str(error) or "busy" in str(error)


def waits(error: BaseException) -> bool:
    """Can the write succeed later, once a lock is let go or the disk has space again?"""
    return busy(error) or "full" in str(error)


def write_lock_holder(path: Path) -> int | None:
    """The pid that holds the log's write lock at this moment, by the kernel's list; None: nobody it can name.

    In WAL mode that is a POSIX lock on byte 120 of the -shm file (SQLite, "WAL-mode File Format", 2.3.1). The
    file is only looked at: to open and close it would drop this process's own locks on it.
    """
    try:
        inode = path.with_name(f"{path.name}-shm").stat().st_ino
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for line in lines:  # 1: POSIX ADVISORY WRITE pid major:minor:inode first last
        _, kind, *rest = line.split()
        if kind == "POSIX" and rest[1] == "WRITE" and rest[3].rpartition(":")[2] == str(inode):
            last = 2**63 if rest[5] == "EOF" else int(rest[5])
            if int(rest[4]) <= WAL_WRITE_LOCK <= last:
                return int(rest[2])
    return None


def retry_busy(action: Callable[[], T], pause: Callable[[int], None], times: int = 5) -> T:
    """Do it; while another process holds the write lock past the time-out, `pause(n)` and do it again."""
    module = driver()
    for n in range(times):
        try:
            return action()
        except module.OperationalError as error:
            if not busy(error) or n == times - 1:
                raise
            pause(n)
    raise AssertionError("unreachable")


def sqlmodel_engine(path: Path) -> Any:
    """A SQLAlchemy engine over the same connections, for queries where rows are wanted as objects."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    return create_engine(
        "sqlite://", module=driver(), creator=lambda: connect(path, read_only=True), poolclass=NullPool
    )
