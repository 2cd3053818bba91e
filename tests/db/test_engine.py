"""Connections: a known good SQLite, and every setting in force on each one."""

import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlmodel import Session

from db.engine import (
    PRAGMAS,
    LogDamaged,
    LogUnreadable,
    connect,
    driver,
    has_wal_race,
    immediate,
    sqlmodel_engine,
)
from db.migrate import migrate
from db.tables import EventRow
from events.log import Log
from events.types import PauseRequested


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ((3, 6, 23), False),
        ((3, 7, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 0), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), True),
        ((3, 53, 0), False),
        ((4, 0, 0), False),
    ],
)
def test_the_versions_that_may_lose_commits_are_known(version: tuple[int, ...], expected: bool) -> None:
    assert expected is has_wal_race(version)


def test_the_sqlite_in_use_is_none_of_them() -> None:
    assert not has_wal_race(driver().sqlite_version_info)


def test_every_pragma_holds_on_each_connection(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    migrate(connect(path, create=True))
    log = Log(path, "test")
    seen = [connect(path), connect(path, read_only=True), log.reader, log._write]
    other = threading.Thread(target=lambda: seen.append(log.reader))
    other.start()
    other.join()

    assert 5 == len({id(connection) for connection in seen})
    for connection in seen:
        got = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in PRAGMAS}
        assert PRAGMAS == got


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    migrate(connect(path, create=True))
    reader = connect(path, read_only=True)

    with pytest.raises(driver().OperationalError, match="readonly"):
        reader.execute("DELETE FROM heartbeat")


def test_a_missing_log_is_not_made_by_looking(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"

    with pytest.raises(LogUnreadable, match="evertrain init"):
        connect(path)

    assert not path.exists()


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough" * 50, b"SQLite format 3\0" + b"\7" * 5000]
)
def test_what_is_no_database_is_told_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "log.sqlite"
    path.write_bytes(content)

    with pytest.raises(LogDamaged, match="restore the newest backup"):
        connect(path)

    assert content == path.read_bytes()


def test_an_error_inside_a_transaction_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    connection = connect(path, create=True)
    migrate(connection)

    with pytest.raises(ValueError, match="stop"), immediate(connection):
        connection.execute("INSERT INTO heartbeat (role, pid, phase, at) VALUES ('daemon', 1, 'idle', 2)")
        raise ValueError("stop")

    assert [] == connection.execute("SELECT * FROM heartbeat").fetchall()
    assert not connection.in_transaction


def test_rows_can_be_read_as_objects(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    log = Log(path, "test", create=True)
    log.append(PauseRequested(), PauseRequested())
    engine = sqlmodel_engine(path)

    with Session(engine) as session:
        rows = session.scalars(select(EventRow)).all()
    engine.dispose()

    assert [(1, "PauseRequested"), (2, "PauseRequested")] == [(row.seq, row.type) for row in rows]


def test_the_standard_module_can_read_the_log(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    log = Log(path, "test", create=True)
    log.append(PauseRequested())

    connection = sqlite3.connect(path)
    count = connection.execute("SELECT count(*) FROM event").fetchone()
    connection.close()

    assert (1,) == count
