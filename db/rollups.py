"""The roll-up rows: merged inside the appending transaction, read as one range."""

from collections.abc import Iterable
from typing import Any

COLUMNS = "metric, lvl, bucket, run, attempt, n, n_nonfinite, sum, min, max, last, last_step"

#: min() and max() of SQLite give NULL when any argument is NULL: hence COALESCE on both sides.
MERGE = f"""
INSERT INTO rollup ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    n = n + excluded.n,
    n_nonfinite = n_nonfinite + excluded.n_nonfinite,
    sum = sum + excluded.sum,
    min = MIN(COALESCE(min, excluded.min), COALESCE(excluded.min, min)),
    max = MAX(COALESCE(max, excluded.max), COALESCE(excluded.max, max)),
    last = COALESCE(excluded.last, last),
    last_step = excluded.last_step
"""


def merge(connection: Any, rows: Iterable[Any]) -> None:
    """Add partial rows to what is there."""
    connection.executemany(MERGE, rows)


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
