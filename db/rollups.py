"""The roll-up rows: merged inside the appending transaction, read as one range.

Two tables of one shape: `rollup` by run and attempt, `history` over all runs.
"""

from collections.abc import Iterable
from typing import Any

KEY, WHOLE_KEY = "metric, lvl, bucket, run, attempt", "metric, lvl, bucket, turn"
VALUES = "n, n_nonfinite, sum, min, max, last, last_step"
COLUMNS = f"{KEY}, {VALUES}"
STRAND = "seq, run, attempt, first_step, last_step, turn"

#: min() and max() of SQLite give NULL when any argument is NULL: hence COALESCE on both sides.
_MERGED = """
ON CONFLICT DO UPDATE SET
    n = n + excluded.n,
    n_nonfinite = n_nonfinite + excluded.n_nonfinite,
    sum = sum + excluded.sum,
    min = MIN(COALESCE(min, excluded.min), COALESCE(excluded.min, min)),
    max = MAX(COALESCE(max, excluded.max), COALESCE(excluded.max, max)),
    last = COALESCE(excluded.last, last),
    last_step = excluded.last_step
"""
MERGE = f"INSERT INTO rollup ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) {_MERGED}"
MERGE_WHOLE = (
    f"INSERT INTO history ({WHOLE_KEY}, {VALUES}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) {_MERGED}"
)
PUT_STRAND = (
    f"INSERT INTO strand ({STRAND}) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET last_step = excluded.last_step"
)
#: How each table is read and compared: name, key, all columns.
TABLES = (
    ("rollup", KEY, COLUMNS), ("history", WHOLE_KEY, f"{WHOLE_KEY}, {VALUES}"), ("strand", "seq", STRAND),
)  # fmt: skip


def merge(connection: Any, rows: Iterable[Any]) -> None:
    """Add partial rows of runs to what is there."""
    connection.executemany(MERGE, rows)


def merge_whole(connection: Any, rows: Iterable[Any]) -> None:
    """Add partial rows of the whole history."""
    connection.executemany(MERGE_WHOLE, rows)


def put_strand(connection: Any, strand: Iterable[Any]) -> None:
    """Note a strand, or how far it has got."""
    connection.execute(PUT_STRAND, tuple(strand))


def newest_strand(connection: Any, to: int | None = None, run: str | None = None) -> Any:
    """The row of the newest strand, up to a position and of one run if given; None: there is none."""
    where, values = ("1", list[Any]()) if to is None else ("seq <= ?", list[Any]([to]))
    if run is not None:
        where += " AND run = ?"
        values.append(run)
    sql = f"SELECT {STRAND} FROM strand WHERE {where} ORDER BY seq DESC LIMIT 1"
    return connection.execute(sql, values).fetchone()


def backfilled(connection: Any) -> int | None:
    """The fact up to which an older log's history is folded by now; None: it is whole."""
    row = connection.execute("SELECT seq FROM backfill WHERE name = 'history'").fetchone()
    return None if row is None else int(row[0])


def note_backfilled(connection: Any, seq: int | None) -> None:
    """How far the whole history is folded; None: all of it."""
    if seq is None:
        connection.execute("DELETE FROM backfill WHERE name = 'history'")
    else:
        connection.execute("UPDATE backfill SET seq = ? WHERE name = 'history'", (seq,))


def strands(connection: Any, run: str | None, to: int | None = None) -> list[Any]:
    """The rows of a run's strands, of the whole history's turns if none is given, in the log's order."""
    where, values = ("seq = turn", list[Any]()) if run is None else ("run = ?", list[Any]([run]))
    if to is not None:
        where += " AND seq <= ?"
        values.append(to)
    rows: list[Any] = connection.execute(
        f"SELECT {STRAND} FROM strand WHERE {where} ORDER BY seq", values
    ).fetchall()
    return rows


def read(
    connection: Any, metric: str, level: int, first_bucket: int, last_bucket: int, run: str | None = None
) -> list[Any]:
    """The rows of one metric and level between two buckets, of one run if given."""
    sql = f"SELECT {COLUMNS} FROM rollup WHERE metric = ? AND lvl = ? AND bucket BETWEEN ? AND ?"
    values: list[Any] = [metric, level, first_bucket, last_bucket]
    if run is not None:
        sql += " AND run = ?"
        values.append(run)
    rows: list[Any] = connection.execute(sql, values).fetchall()
    return rows


def read_whole(connection: Any, metric: str, level: int, first_bucket: int, last_bucket: int) -> list[Any]:
    """The same of the whole history; in place of run and attempt stand an empty name and the turn."""
    rows: list[Any] = connection.execute(
        f"SELECT metric, lvl, bucket, '', turn, {VALUES} FROM history "
        "WHERE metric = ? AND lvl = ? AND bucket BETWEEN ? AND ?",
        (metric, level, first_bucket, last_bucket),
    ).fetchall()
    return rows


def strands_of(connection: Any, run: str | None, first_step: int, last_step: int, to: int) -> list[Any]:
    """The strands up to a position, in the log's order, that hold any of these steps or did them anew."""
    where, values = ("", list[Any]()) if run is None else (" AND run = ?", list[Any]([run]))
    rows: list[Any] = connection.execute(
        f"SELECT {STRAND} FROM strand WHERE seq <= ? AND first_step <= ? AND (last_step >= ? OR seq = turn)"
        f"{where} ORDER BY seq",
        (to, last_step, first_step, *values),
    ).fetchall()
    return rows


def next_strand(connection: Any, seq: int) -> int | None:
    """Where the strand behind the one at `seq` begins; None: that one is the newest."""
    row = connection.execute("SELECT seq FROM strand WHERE seq > ? ORDER BY seq LIMIT 1", (seq,)).fetchone()
    return None if row is None else int(row[0])


def bounds_before(connection: Any, run: str | None, seq: int) -> tuple[int | None, int | None]:
    """The first and last global step of the strands before the one at `seq`, of one run if given."""
    where, values = ("", list[Any]()) if run is None else (" AND run = ?", list[Any]([run]))
    sql = f"SELECT MIN(first_step), MAX(last_step) FROM strand WHERE seq < ?{where}"
    first, last = connection.execute(sql, (seq, *values)).fetchone()
    return first, last
