"""One flipped bit anywhere in the record (a fact, its commit, what is folded, an answer): `verify` says 4."""

import random
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.doctor.record import examine
from core.logbook import open_log
from db.engine import LogDamaged, driver
from db.rollups import TABLES
from db.workspace import Workspace
from events.types import PauseRequested, ResumeRequested, StepsCompleted
from tests.core.cli.conftest import command

#: What is changed: parts of a fact, of its commit, of what is folded from it and of the answer to a command.
PLACES: dict[str, tuple[str, ...]] = {
    "event": ("data", "seq", "at", "actor", "stream", "type", "version", "causation", "correlation", "data"),
    "commit_log": ("first_seq", "last_seq", "at", "prev_hash", "hash"),
    **{name: tuple(columns.split(", ")) for name, _, columns in TABLES},
    "command": ("first_seq", "last_seq", "request_hash", "at"),
}


@pytest.fixture(scope="module")
def written(lived: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with steps that went back twice, linked facts, an answered command; its log is one file."""
    root = tmp_path_factory.mktemp("written") / "workspace"
    shutil.copytree(lived, root, symlinks=True)
    log, at = open_log(Workspace(root), "test"), 60
    for n in range(24):
        at = at - 40 if n in (9, 17) else at + 7
        log.append(StepsCompleted(
            run="r7", attempt=1 + (n > 8) + (n > 16), first_step=at, first_global_step=at, n=7,
            columns={"loss": [2.5 - i / n if n else 0.25 for i in range(7)], "learning_rate": [2e-4] * 7,
                     "tokens": [900] * 7, "seconds": [0.3] * 7},
        ), causation=1, correlation=2)  # fmt: skip
    log.append(PauseRequested(), key="asked once")
    log.append(ResumeRequested(), key="and again")
    log.close()
    connection = driver().connect(str(Workspace(root).log), isolation_level=None)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return root


@dataclass(frozen=True)
class Flip:
    """One changed bit: where, and what was there."""

    table: str
    column: str
    before: Any
    after: Any


def other_bit(value: Any, chance: random.Random) -> Any:
    """The stored value with one bit changed: of a text's bytes (perhaps no UTF-8), an integer, a double."""
    if isinstance(value, int):
        return value ^ (1 << chance.randrange(63))
    if isinstance(value, float):
        (bits,) = struct.unpack("<q", struct.pack("<d", value))
        return struct.unpack("<d", struct.pack("<q", bits ^ (1 << chance.randrange(63))))[0]
    raw = bytearray(value if isinstance(value, bytes) else value.encode())
    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    return bytes(raw)


def flip(path: Path, table: str, column: str, chance: random.Random) -> Flip:
    """Change one bit of one value behind the back of the triggers, which are there again afterwards."""
    connection = driver().connect(str(path), isolation_level=None)
    made = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in made:
        connection.execute(f"DROP TRIGGER {name}")
    key = next((key for name, key, _ in TABLES if name == table), "rowid")
    where = " AND ".join(f"{part} = ?" for part in key.split(", "))
    keys = connection.execute(f"SELECT {key} FROM {table} WHERE {column} IS NOT NULL").fetchall()
    while True:
        at = chance.choice(keys)
        (before,) = connection.execute(f"SELECT {column} FROM {table} WHERE {where}", at).fetchone()
        after = other_bit(before, chance)
        cast = "CAST(? AS TEXT)" if isinstance(before, str) else "?"
        try:
            connection.execute(f"UPDATE {table} SET {column} = {cast} WHERE {where}", (after, *at))
        except driver().IntegrityError:
            continue  # a key that another row has, or a double that is none: cannot be stored
        break
    for _, sql in made:
        connection.execute(sql)
    connection.close()
    return Flip(table, column, before, after)


@pytest.fixture
def flipped(written: Path, tmp_path: Path) -> Callable[[int, str, str], tuple[Flip, Path]]:
    """Changes a bit in a fresh copy of the log; gives the change and the workspace."""
    root = tmp_path / "workspace"
    shutil.copytree(written, root, symlinks=True)
    place = Workspace(root)

    def make(seed: int, table: str, column: str) -> tuple[Flip, Path]:
        for path in place.log.parent.glob(f"{place.log.name}-*"):
            path.unlink()
        shutil.copyfile(Workspace(written).log, place.log)
        return flip(place.log, table, column, random.Random(seed)), root

    return make


def draws(n: int) -> Iterator[tuple[str, str]]:
    """Table after table, and in each column after column: all are met, the small tables, too."""
    for i in range(n):
        table = tuple(PLACES)[i % len(PLACES)]
        yield table, PLACES[table][i // len(PLACES) % len(PLACES[table])]


def is_found(root: Path) -> bool:
    """By the work of `verify`, without the command around it."""
    try:
        log = open_log(Workspace(root), "cli")
    except LogDamaged:
        return True
    try:
        return bool(examine(Workspace(root), log, deep=False, tell=lambda seq, head: None).problems)
    finally:
        log.close()


def campaign(flipped: Callable[[int, str, str], tuple[Flip, Path]], n: int) -> None:
    seed, missed = random.SystemRandom().randrange(10**6), []
    for i, (table, column) in enumerate(draws(n)):
        changed, root = flipped(seed + i, table, column)
        if not is_found(root):
            missed.append((seed + i, changed))
    print(f"{n - len(missed)} of {n} found")

    assert [] == missed


def test_the_record_is_whole_to_begin_with(written: Path) -> None:
    done = command("verify", "--workspace", written)

    assert 0 == done.returncode, done.stdout


def test_one_flipped_bit_in_60_places_is_found_60_times(flipped: Any) -> None:
    campaign(flipped, 60)


@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_one_flipped_bit_in_500_places_is_found_500_times(flipped: Any) -> None:
    campaign(flipped, 500)


@pytest.mark.parametrize("table", PLACES)
def test_the_command_tells_it_by_its_exit_code_and_what_to_do(flipped: Any, table: str) -> None:
    _, root = flipped(1, table, PLACES[table][-1])
    done = command("verify", "--workspace", root)

    assert 4 == done.returncode
    assert "→" in done.stdout and "problems" in done.stdout
