"""Rebuilding: fold everything again from the log, compare it with what was live, replace it."""

from dataclasses import dataclass
from typing import Any

import msgspec

from core.logbook import state_at
from db import rollups
from events.log import Log
from events.types import StepsCompleted
from projections import curves
from projections.fold import PROJECTIONS, State, digest, plain

READ_STATE = "SELECT projection, version, seq, digest, data FROM snapshot ORDER BY seq"
WRITE_STATE = (
    "INSERT OR REPLACE INTO snapshot (projection, version, seq, digest, data) VALUES (?, ?, ?, ?, ?)"
)


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where what was live is not what the log says."""

    projection: str
    seq: int
    path: str
    live: Any
    folded: Any


def keep(log: Log, state: State) -> None:
    """Note the live state, one row a projection; the older ones go."""
    rows = [
        (name, module.VERSION, state.seq, digest(part := getattr(state, name)), _text(part))
        for name, module in PROJECTIONS.items()
    ]
    with log.transaction() as db:
        db.execute("DELETE FROM snapshot")
        db.executemany(WRITE_STATE, rows)


def compare(log: Log) -> list[Difference]:
    """The noted states against a fold from the first fact, and the roll-ups against the steps."""
    found: list[Difference] = []
    states: dict[int, State] = {}
    for name, version, seq, stored, data in log.reader.execute(READ_STATE).fetchall():
        if name not in PROJECTIONS or version != PROJECTIONS[name].VERSION:
            continue  # another fold's note: a cache of nothing we have
        if seq not in states:
            states[seq] = state_at(log, seq)
        folded = getattr(states[seq], name)
        live = msgspec.json.decode(data)
        if digest(folded) != stored or plain(live) != msgspec.json.decode(_text(folded)):
            place, was, should = first_difference(live, msgspec.json.decode(_text(folded)), name)
            found.append(Difference(name, seq, place, was, should))
    return found


def rebuild(log: Log) -> list[Difference]:
    """Compare everything, then replace it; gives what differed."""
    found = compare(log)
    head = log.head()
    folded: Rows = {}
    _fold_rollups(log, 0, head, folded)  # the long part, while others write
    with log.transaction() as db:
        newest = log.head()
        _fold_rollups(log, head, newest, folded)
        live = {tuple(row[:5]): tuple(row) for row in db.execute(f"SELECT {rollups.COLUMNS} FROM rollup")}
        found += _compare_rollups(live, folded, newest)
        db.execute("DELETE FROM rollup")
        rollups.merge(db, folded.values())
    keep(log, state_at(log))
    return found


Rows = dict[tuple[Any, ...], tuple[Any, ...]]


def _fold_rollups(log: Log, after: int, to: int, rows: Rows) -> None:
    """Merge the steps of a range into `rows`, in the order of the appends: sums are the same bits."""
    for recorded in log.read(after, to=to, types=(StepsCompleted,)):
        for partial in curves.partials([recorded]):
            key = tuple(partial[:5])
            rows[key] = curves.combine(rows[key], partial) if key in rows else tuple(partial)


def _compare_rollups(live: Rows, folded: Rows, seq: int) -> list[Difference]:
    found = []
    for key in sorted(live.keys() | folded.keys()):
        if live.get(key) != folded.get(key):
            found.append(Difference("curves", seq, "/".join(map(str, key)), live.get(key), folded.get(key)))
    return found


def _text(state: Any) -> str:
    return msgspec.json.encode(plain(state)).decode()


def first_difference(live: Any, folded: Any, path: str) -> tuple[str, Any, Any]:
    """The first place where two plain values differ."""
    if isinstance(live, dict) and isinstance(folded, dict):
        for key in sorted(live.keys() | folded.keys()):
            if live.get(key) != folded.get(key):
                return first_difference(live.get(key), folded.get(key), f"{path}.{key}")
    if isinstance(live, list) and isinstance(folded, list) and len(live) == len(folded):
        for n, (one, other) in enumerate(zip(live, folded, strict=True)):
            if one != other:
                return first_difference(one, other, f"{path}.{n}")
    return path, live, folded
