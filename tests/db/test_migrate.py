"""The schema: the migrations make exactly what the table classes say, and a newer log is left alone."""

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable
from sqlmodel import SQLModel

from db import tables
from db.engine import LogUnreadable, connect
from db.migrate import migrate, migrations, statements


def columns(connection: Any) -> dict[str, Any]:
    """table → its columns (name, type, not null, place in the primary key), as SQLite has them."""
    names = [
        row[0]
        for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
    ]
    return {
        name: [(c[1], c[2], c[3], c[5]) for c in connection.execute(f"PRAGMA table_info({name})")]
        for name in names
    }


def options(connection: Any) -> dict[str, Any]:
    """table → (without rowid, strict)."""
    return {
        row[1]: (row[4], row[5]) for row in connection.execute("PRAGMA table_list") if "sqlite" not in row[1]
    }


def indexes(connection: Any) -> dict[str, Any]:
    """index → its columns, whether unique, and its condition."""
    found = {}
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        for row in connection.execute(f"PRAGMA index_list({table})").fetchall():
            inside = [c[2] for c in connection.execute(f"PRAGMA index_info({row[1]})")]
            sql = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (row[1],)).fetchone()
            where = re.search(r"WHERE (.*)", sql[0] or "") if sql is not None else None
            found[table, row[1]] = (inside, row[2], row[4], where.group(1) if where else None)
    return found


def made_by_classes(path: Path) -> Any:
    connection = connect(path, create=True)
    for table in SQLModel.metadata.sorted_tables:
        connection.execute(str(CreateTable(table).compile(dialect=sqlite.dialect())))
        for index in table.indexes:
            connection.execute(str(CreateIndex(index).compile(dialect=sqlite.dialect())))
    return connection


def test_the_migrations_make_what_the_table_classes_say(tmp_path: Path) -> None:
    by_classes = made_by_classes(tmp_path / "classes.sqlite")
    by_migrations = connect(tmp_path / "migrations.sqlite", create=True)
    migrate(by_migrations)

    assert tables.EventRow.__tablename__ in columns(by_migrations)
    assert columns(by_classes) == columns(by_migrations)
    assert options(by_classes) == options(by_migrations)
    assert indexes(by_classes) == indexes(by_migrations)


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    connection = connect(tmp_path / "log.sqlite", create=True)
    first = migrate(connection)
    before = connection.execute("SELECT * FROM sqlite_master").fetchall()

    assert first == migrate(connection) == migrations()[-1][0]
    assert before == connection.execute("SELECT * FROM sqlite_master").fetchall()


def test_an_older_log_is_lifted_step_by_step_and_keeps_its_rows(tmp_path: Path) -> None:
    connection = connect(tmp_path / "log.sqlite", create=True)
    first = migrations()
    migrate(connection, first)
    connection.execute("INSERT INTO heartbeat (role, pid, phase, at) VALUES ('daemon', 1, 'idle', 2)")
    newest = first[-1][0] + 2
    more = [
        *first,
        (newest - 1, "CREATE TABLE extra (a INTEGER);"),
        (newest, "INSERT INTO extra VALUES (5);"),
    ]

    assert newest == migrate(connection, more)
    assert [(5,)] == connection.execute("SELECT a FROM extra").fetchall()
    assert [("daemon",)] == connection.execute("SELECT role FROM heartbeat").fetchall()


def test_a_migration_that_fails_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    connection = connect(tmp_path / "log.sqlite", create=True)
    newest = migrate(connection)
    broken = [*migrations(), (newest + 1, "CREATE TABLE extra (a INTEGER);\nCREATE TABLE event (a INTEGER);")]

    with pytest.raises(Exception, match="already exists"):
        migrate(connection, broken)

    assert "extra" not in columns(connection)
    assert newest == migrate(connection)


@pytest.mark.parametrize("names", [("001_a.sql", "001_b.sql"), ("001_a.sql", "003_b.sql"), ("1_a.sql",)])
def test_migrations_are_numbered_once_and_without_a_gap(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).write_text("CREATE TABLE a (a INTEGER);")

    with pytest.raises(LogUnreadable, match="migration"):
        migrations(tmp_path)


def test_a_newer_log_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    connection = connect(path, create=True)
    newest = migrate(connection)
    connection.execute(f"PRAGMA user_version={newest + 1}")
    connection.close()
    before = path.read_bytes()

    again = connect(path)
    with pytest.raises(LogUnreadable, match=f"schema {newest + 1}"):
        migrate(again)
    again.close()

    assert before == path.read_bytes()


def test_a_script_is_cut_into_statements_at_their_real_ends() -> None:
    trigger = "CREATE TRIGGER t BEFORE UPDATE ON a\nBEGIN SELECT 1; SELECT 2; END;"

    assert ["SELECT 1;", trigger] == statements(f"SELECT 1;\n{trigger}\n-- the end\n")
    with pytest.raises(LogUnreadable, match="middle of a statement"):
        statements("SELECT 1;\nSELECT 2\n")
