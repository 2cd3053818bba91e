"""Rebuilding: fold everything again from the log, compare it with what was live, replace it."""

import contextlib
import time
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec

from core import kept
from core.aside import Aside, Differing, Progress
from core.logbook import backfill, state_at
from events.log import Log
from projections.fold import EMPTY, NUMERIC, PROJECTIONS, State, canonical, fold

#: As bytes: a damaged note need be no text.
READ_STATE = (
    "SELECT CAST(projection AS BLOB), version, seq, digest, CAST(data AS BLOB) FROM snapshot ORDER BY seq"
)
WRITE_STATE = (
    "INSERT OR REPLACE INTO snapshot (projection, version, seq, digest, data) VALUES (?, ?, ?, ?, ?)"
)

DIFFERENCES = 1_000  # told of each table; all of them are mended
ROWS_A_WRITE = 250  # mended in one transaction: no append waits for longer
BETWEEN_WRITES = 0.01  # seconds; SQLite has no queue: without a pause those who wait would hardly get a turn


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
    rows = []
    for name, module in PROJECTIONS.items():
        text = canonical(getattr(state, name))
        rows.append((name, module.VERSION, state.seq, sha256(text).digest(), text.decode()))
    for row in rows:  # of a long log some are megabytes: between two of them others append
        with log.transaction() as db:
            db.execute("DELETE FROM snapshot WHERE projection = ?", row[:1])
            db.execute(WRITE_STATE, row)


def compare(log: Log) -> list[Difference]:
    """The noted states, and the one that a fold may begin with, against a fold from the first fact."""
    return _compare(log)[0]


def _compare_kept(begun: State, folded: State) -> list[Difference]:
    found = []
    for name in PROJECTIONS:
        one, other = (canonical(getattr(state, name)) for state in (begun, folded))
        if one != other:
            place, was, should = first_difference(msgspec.json.decode(one), msgspec.json.decode(other), name)
            found.append(Difference(name, begun.seq, place, was, should))
    return found


def _compare(log: Log) -> tuple[list[Difference], State]:
    """What differs, and the folded state of the newest note."""
    begun, head = kept.kept(log), log.head()
    state = state_at(log, begun.seq)  # noted more rarely, so before the others
    found = _compare_kept(begun, state)
    for raw, version, seq, stored, data in log.reader.execute(READ_STATE).fetchall():  # in order
        name = raw.decode(errors="replace")
        if name not in PROJECTIONS or version != PROJECTIONS[name].VERSION:
            continue  # another fold's note: a cache of nothing we have
        if not 0 <= seq <= head:
            found.append(Difference(name, head, name, f"noted at #{seq}", f"the log ends at #{head}"))
            continue
        known = state if state.seq <= seq else EMPTY
        state = fold(log.read(known.seq, to=seq, but=NUMERIC), known)
        text = canonical(getattr(state, name))
        if sha256(text).digest() == stored and text == data:
            continue
        try:
            live = msgspec.json.decode(data)
        except ValueError:
            live = None  # differs from any state
        folded = msgspec.json.decode(text)
        if sha256(text).digest() != stored or live != folded:
            place, was, should = first_difference(live, folded, name)
            found.append(Difference(name, seq, place, was, should))
    return found, state


def rebuild(log: Log, tell: Progress = lambda seq, head: None) -> list[Difference]:
    """Compare everything, then replace what differs; gives what differed.

    The curves are folded aside while others read and write. `tell(seq, head)`: how far that has come.
    A write holds others up for 250 rows at most; all that is behind the head is folded before it begins.
    """
    while backfill(log):
        continue  # an older log's history, which is no difference
    found, state = _compare(log)
    with contextlib.closing(Aside(log)) as aside:
        wrong = aside.compare(tell)
        found += _told(aside, wrong)
        for name, differing in wrong.items():
            for start in range(0, len(differing), ROWS_A_WRITE):
                aside.mend(name, [key for key, *_ in differing[start : start + ROWS_A_WRITE]])
                time.sleep(BETWEEN_WRITES)
    kept.forget(log)
    keep(log, fold(log.read(state.seq, but=NUMERIC), state))
    return found


def compare_curves(log: Log, tell: Progress = lambda seq, head: None) -> list[Difference]:
    """The roll-ups against the steps that they are made of: these are folded aside, nothing is changed."""
    with contextlib.closing(Aside(log)) as aside:
        return _told(aside, aside.compare(tell))


def _told(aside: Aside, wrong: dict[str, list[Differing]]) -> list[Difference]:
    return [
        Difference("curves", aside.seq, f"{name}/{'/'.join(map(str, key))}", live, folded)
        for name, differing in wrong.items()
        for key, live, folded in differing[:DIFFERENCES]
    ]


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
