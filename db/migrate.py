"""Numbered migrations, each applied once and whole; a newer log is refused, untouched."""

import re
from pathlib import Path
from typing import Any

from db.engine import LogUnreadable, driver, immediate

FOLDER = Path(__file__).parent / "migrations"

PARTS = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type, name"


def migrations(folder: Path = FOLDER) -> list[tuple[int, str]]:
    """(number, SQL text), in order."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = re.match(r"(\d{3})_", path.name)
        if match is None:
            raise LogUnreadable(f"{path}: a migration is named NNN_what.sql")
        found.append((int(match.group(1)), path.read_text(encoding="utf-8")))
    if [number for number, _ in found] != list(range(1, len(found) + 1)):
        raise LogUnreadable(f"{folder}: migrations are numbered from 001 on, each number once")
    return found


def schema_version(connection: Any) -> int:
    """The number of the last migration applied; 0 for an empty file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def migrate(connection: Any, steps: list[tuple[int, str]] | None = None) -> int:
    """Bring the file to the newest schema; gives the version reached.

    Raises LogUnreadable when the file is newer than this software.
    """
    steps = migrations() if steps is None else steps
    newest = steps[-1][0]
    if schema_version(connection) == newest:
        return newest
    with immediate(connection):  # the version is read again under the write lock
        now = schema_version(connection)
        if now > newest:
            raise LogUnreadable(
                f"this log has schema {now}, this evertrain knows up to {newest}. "
                "Install the newer evertrain again; nothing was changed."
            )
        for number, text in steps:
            if number > now:
                for statement in statements(text):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version={number}")
    return newest


def missing(connection: Any) -> list[str]:
    """What the newest schema has and this file has not, or otherwise: "trigger event_is_never_changed"."""
    fresh = driver().connect(":memory:", isolation_level=None)
    try:
        migrate(fresh)
        wanted = fresh.execute(PARTS).fetchall()
    finally:
        fresh.close()
    here = set(connection.execute(PARTS).fetchall())
    return [f"{kind} {name}" for kind, name, sql in wanted if (kind, name, sql) not in here]


def statements(text: str) -> list[str]:
    """The single statements of a script (a trigger's inner `;` does not end it)."""
    complete = driver().complete_statement
    found, part = [], ""
    for line in text.splitlines(keepends=True):
        part += line
        if part.strip() and complete(part):
            found.append(part.strip())
            part = ""
    if re.sub(r"--.*", "", part).strip():
        raise LogUnreadable(f"a migration ends in the middle of a statement: {part.strip()[:60]!r}")
    return found
