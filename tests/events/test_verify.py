"""Verification: whatever was changed behind the log's back is found."""

import hashlib
import json
import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from db.engine import LogDamaged, LogUnreadable, connect, driver
from events.chain import GENESIS, link
from events.log import Log
from events.reading import COLUMNS
from events.types import FilePlaced, PauseRequested, StepsCompleted
from events.verify import Anchor, verify_log
from tests.facts import specimens

GOLDEN = Path(__file__).parents[1] / "golden" / "facts.jsonl"
SEED = random.SystemRandom().randrange(10**6)
FIELDS = COLUMNS.split(", ")
COMMIT_FIELDS = ("first_seq", "last_seq", "at", "prev_hash", "hash")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with every kind of fact in commits of different sizes, all in one file."""
    path = tmp_path_factory.mktemp("log") / "evertrain.sqlite"
    log = Log(path, "test", create=True)
    facts = specimens()
    for size in (1, 2, 3, 5, 8, 13, len(facts)):
        log.append(*facts[:size], causation=1, correlation=2)
        facts = facts[size:] or specimens()
    log.close()
    connect(path).close()
    return path


@pytest.fixture
def damaged(written: Path, tmp_path: Path) -> Callable[..., Any]:
    """A copy of the log whose triggers are gone, and a way to write to it."""
    path = tmp_path / "damaged.sqlite"
    shutil.copyfile(written, path)
    connection = driver().connect(str(path), isolation_level=None)
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")

    def write(*statements: tuple[str, tuple[Any, ...]]) -> Any:
        for sql, values in statements:
            connection.execute(sql, values)
        return connection

    return write


def kinds(connection: Any, **more: Any) -> set[str]:
    return {problem.kind for problem in verify_log(connection, **more).problems}


def other_byte(value: Any, chance: random.Random) -> Any:
    """The value with one byte changed; a text may be no UTF-8 afterwards."""
    if isinstance(value, int):
        return value ^ (1 << chance.randrange(20))
    raw = bytearray(value if isinstance(value, bytes) else value.encode())
    raw[chance.randrange(len(raw))] ^= 1 << chance.randrange(8)
    return bytes(raw)


def test_a_whole_log_is_whole(written: Path) -> None:
    connection = connect(written, read_only=True)
    verified = verify_log(connection)
    count = connection.execute("SELECT count(*) FROM event").fetchone()
    head = connection.execute("SELECT hash FROM commit_log ORDER BY first_seq DESC").fetchone()[0]

    assert () == verified.problems
    assert count[0] == verified.events
    assert head.hex() == verified.head_hash


def test_an_empty_log_is_whole(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.sqlite", "test", create=True)

    assert (0, ()) == (verify_log(log.reader).events, verify_log(log.reader).problems)
    log.close()


@pytest.mark.parametrize("n", range(120))
def test_one_changed_byte_in_a_stored_fact_is_found(damaged: Callable[..., Any], n: int) -> None:
    chance = random.Random(SEED + n)
    print(f"seed {SEED + n}")
    connection = damaged()
    field = FIELDS[n % len(FIELDS)]
    seqs = [row[0] for row in connection.execute("SELECT seq FROM event").fetchall()]
    seq = chance.choice(seqs)
    before = connection.execute(f"SELECT {field} FROM event WHERE seq = ?", (seq,)).fetchone()[0]
    after = other_byte(before, chance)
    while field == "seq" and after in seqs:
        after = other_byte(before, chance)
    cast = "CAST(? AS TEXT)" if isinstance(before, str) else "?"
    connection.execute(f"UPDATE event SET {field} = {cast} WHERE seq = ?", (after, seq))

    assert kinds(connection)


@pytest.mark.parametrize("n", range(40))
def test_one_changed_byte_in_a_commit_is_found(damaged: Callable[..., Any], n: int) -> None:
    chance = random.Random(SEED + n)
    print(f"seed {SEED + n}")
    connection = damaged()
    field = COMMIT_FIELDS[n % len(COMMIT_FIELDS)]
    rows = connection.execute(f"SELECT first_seq, {field} FROM commit_log").fetchall()
    first, before = chance.choice(rows)
    after = other_byte(before, chance)
    while field in ("first_seq", "last_seq") and after in [row[1] for row in rows]:
        after = other_byte(before, chance)
    connection.execute(f"UPDATE commit_log SET {field} = ? WHERE first_seq = ?", (after, first))

    assert kinds(connection)


@pytest.mark.parametrize("n", range(60))
def test_one_changed_byte_of_the_file_is_found_or_changes_no_fact(
    written: Path, tmp_path: Path, n: int
) -> None:
    chance = random.Random(SEED + n)
    print(f"seed {SEED + n}")
    raw = bytearray(written.read_bytes())
    place = chance.randrange(len(raw))
    raw[place] ^= 1 << chance.randrange(8)
    path = tmp_path / "damaged.sqlite"
    path.write_bytes(raw)

    try:
        log = Log(path, "test")
    except (LogDamaged, LogUnreadable):
        return
    found = kinds(log.reader)

    if not found:
        whole = connect(written, read_only=True)
        for table in ("event", "commit_log"):
            sql = f"SELECT * FROM {table} ORDER BY 1"
            assert whole.execute(sql).fetchall() == log.reader.execute(sql).fetchall()
    log.close()


def test_a_value_that_was_taken_away_is_found(damaged: Callable[..., Any]) -> None:
    for field in ("causation", "correlation"):
        assert {"changed"} == kinds(damaged((f"UPDATE event SET {field} = NULL WHERE seq = 9", ())))


def test_a_deleted_fact_is_found(damaged: Callable[..., Any]) -> None:
    assert {"missing", "changed"} == kinds(damaged(("DELETE FROM event WHERE seq = 5", ())))


def test_a_deleted_commit_is_found(damaged: Callable[..., Any]) -> None:
    found = kinds(damaged(("DELETE FROM commit_log WHERE first_seq = 4", ())))

    assert {"gap", "chain", "unchained"} == found


def test_two_facts_that_changed_places_are_found(damaged: Callable[..., Any]) -> None:
    columns = ", ".join(FIELDS[1:])
    rows = dict(
        damaged().execute(f"SELECT seq, json_array({columns}) FROM event WHERE seq IN (8, 9)").fetchall()
    )
    swap = [
        ("UPDATE event SET seq = 1000 WHERE seq = 8", ()),
        ("UPDATE event SET seq = 8 WHERE seq = 9", ()),
        ("UPDATE event SET seq = 9 WHERE seq = 1000", ()),
    ]

    assert rows[8] != rows[9]
    assert {"changed"} == kinds(damaged(*swap))


def test_a_fact_that_is_far_behind_the_others_is_reached_at_once(damaged: Callable[..., Any]) -> None:
    """One flipped bit of a position makes a hole that nobody may walk through step by step."""
    connection = damaged(("UPDATE event SET seq = seq | (1 << 60) WHERE seq = 9", ()))
    (path,) = (row[2] for row in connection.execute("PRAGMA database_list"))
    log = Log(Path(path), "test")
    types = (PauseRequested, FilePlaced, StepsCompleted)
    seqs = [recorded.seq for recorded in log.read(types=types)]

    assert {"missing", "changed", "unchained"} == kinds(connection)
    assert [recorded.seq for recorded in log.read() if isinstance(recorded.event, types)] == seqs
    assert log.head() == 9 | (1 << 60)
    log.close()


def test_a_fact_that_no_commit_holds_is_found(damaged: Callable[..., Any]) -> None:
    copy = f"INSERT INTO event SELECT 1000, {', '.join(FIELDS[1:])} FROM event WHERE seq = 1"

    assert {"unchained"} == kinds(damaged((copy, ())))


def cut(connection: Any) -> tuple[int, str]:
    """Take away the newest commit, whole; gives what was known of it outside the log."""
    first, last, head = connection.execute(
        "SELECT first_seq, last_seq, hash FROM commit_log ORDER BY first_seq DESC"
    ).fetchone()
    connection.execute("DELETE FROM event WHERE seq >= ?", (first,))
    connection.execute("DELETE FROM commit_log WHERE first_seq = ?", (first,))
    return last, head.hex()


def test_a_log_that_was_cut_off_is_found_by_an_anchor_outside(damaged: Callable[..., Any]) -> None:
    connection = damaged()
    last, head = cut(connection)

    assert set() == kinds(connection)
    assert {"anchor"} == kinds(connection, anchors=[Anchor(last, head)])


def test_a_log_rewritten_together_with_its_chain_is_found_by_an_anchor_outside(
    damaged: Callable[..., Any],
) -> None:
    connection = damaged(("UPDATE event SET actor = 'nobody' WHERE seq = 1", ()))
    commits = connection.execute("SELECT first_seq, last_seq, at, hash FROM commit_log ORDER BY 1").fetchall()
    anchors = {commits[-1][1]: commits[-1][3].hex()}
    head = GENESIS
    for first, last, at, _ in commits:
        rows = connection.execute(
            f"SELECT {COLUMNS} FROM event WHERE seq BETWEEN ? AND ? ORDER BY seq", (first, last)
        ).fetchall()
        new = link(head, first, last, at, rows)
        connection.execute(
            "UPDATE commit_log SET prev_hash = ?, hash = ? WHERE first_seq = ?", (head, new, first)
        )
        head = new

    assert set() == kinds(connection)
    assert {"anchor"} == kinds(connection, anchors=[Anchor(*each) for each in anchors.items()])


def test_a_long_list_of_problems_has_an_end(damaged: Callable[..., Any]) -> None:
    connection = damaged(("UPDATE event SET data = 'x'", ()))

    assert 7 == len(verify_log(connection, most=7).problems)


def test_two_rows_never_read_alike() -> None:
    def head(*values: Any) -> bytes:
        return link(GENESIS, 1, 1, 0, [values])

    assert head("ab", "c") != head("a", "bc")
    assert head(None, "") != head("", None)
    assert head(None) != head("None") != head("")
    assert head(1, 12) != head(11, 2)


def test_the_chains_bytes_are_those_of_every_released_log() -> None:
    lines = [json.loads(line) for line in GOLDEN.read_text(encoding="utf-8").splitlines()[:50]]
    at = 1_700_000_000_000_000
    rows = [
        (n, at, "daemon", line["stream"], line["name"], line["version"], n % 3 or None, 7, line["data"])
        for n, line in enumerate(lines, 1)
    ]
    rows.append((51, at + 1, "wéb", "file/ü", "FilePlaced", 1, None, None, '{"path":"ß"}'))

    def plainly(value: Any) -> bytes:
        text = b"" if value is None else str(value).encode()
        return b"%d:%s" % (-1 if value is None else len(text), text)

    spelled = b"".join(plainly(value) for row in rows for value in row)
    wanted = hashlib.sha256(bytes(range(32)) + b"1,51,%d;" % at + spelled).digest()

    assert wanted == link(bytes(range(32)), 1, 51, at, rows)
    assert wanted != link(bytes(range(32)), 1, 51, at, rows[:-1])


def test_the_schema_says_strict_so_that_nothing_changes_its_type(written: Path) -> None:
    connection = connect(written)
    with pytest.raises((driver().DatabaseError, sqlite3.DatabaseError)):
        connection.execute("INSERT INTO event VALUES (500, 'yesterday', 'a', 's', 't', 1, NULL, NULL, '{}')")
    connection.close()


def test_facts_written_by_the_log_verify_after_every_append(tmp_path: Path) -> None:
    log = Log(tmp_path / "log.sqlite", "test", create=True)
    for n in range(1, 6):
        log.append(*[FilePlaced(sha256=str(i), path="ä\u2028\0" * i) for i in range(n)], PauseRequested())
        log.append(
            StepsCompleted(
                run="r", attempt=1, first_step=n, first_global_step=n, n=1, columns={"loss": [0.1]}
            )
        )
        assert () == verify_log(log.reader).problems
    log.close()
