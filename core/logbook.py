"""The log as this service opens it: with the curves kept inside the appending transaction."""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from msgspec.structs import astuple

from core.kept import kept
from db import rollups
from db.engine import BUSY_MS
from db.workspace import Workspace
from events.log import Log
from events.types import Recorded, StepsCompleted
from projections import curves
from projections.fold import EMPTY, NUMERIC, Follower, State, fold

#: Adds partial rows to a table of the curves.
Merge = Callable[[Any, Iterable[Any]], None]

#: Facts of steps whose share of the history is folded in one transaction: some 6 ms.
FACTS_A_SLICE = 12


def keep_curves(
    connection: Any,
    facts: Iterable[Recorded],
    merge: Merge = rollups.merge,
    merge_whole: Merge = rollups.merge_whole,
) -> None:
    """Add the steps among these facts, the newest ones, to the roll-ups: part of their own transaction."""
    strand: curves.Strand | None = None
    for fact in facts:
        if not isinstance(fact.event, StepsCompleted):
            continue
        if strand is None and (row := rollups.newest_strand(connection)) is not None:
            strand = curves.Strand(*row)
        following = curves.follow(strand, fact.seq, fact.event)
        if strand is not None and following.seq != strand.seq:
            rollups.put_strand(connection, astuple(strand))
        strand, rows = following, curves.partials([fact])
        merge(connection, rows)
        merge_whole(connection, curves.whole(rows, strand.turn))
    if strand is not None:
        rollups.put_strand(connection, astuple(strand))


def _keep_inline(connection: Any, facts: Iterable[Recorded]) -> None:
    """The same for an append; of an older log's history that is still being folded, the turn comes later."""
    if rollups.backfilled(connection) is None:
        keep_curves(connection, facts)
    else:
        rollups.merge(connection, curves.partials(facts))


def backfill(log: Log, facts: int = FACTS_A_SLICE) -> bool:
    """Fold one slice of what an older schema did not keep: the curve of all runs together. Is there more?

    A slice is one short transaction, which notes how far it came: a crash loses the slice it cuts short.
    """
    seq = rollups.backfilled(log.reader)
    if seq is None:
        return False
    slice_ = list(islice(log.read(seq, types=(StepsCompleted,), page=facts), facts))
    with log.transaction() as db:
        if rollups.backfilled(db) == seq:  # else another process was quicker
            keep_curves(db, slice_, merge=lambda connection, rows: None)
            last = slice_[-1].seq if slice_ else seq
            sql = "SELECT 1 FROM event WHERE type = 'StepsCompleted' AND seq > ? LIMIT 1"
            more = db.execute(sql, (last,)).fetchone() is not None
            rollups.note_backfilled(db, last if more else None)
    return rollups.backfilled(log.reader) is not None


def open_log(
    workspace: Workspace, actor: str, *, create: bool = False, busy_ms: int = BUSY_MS
) -> Log:
    """This process's log; one per process. Raises LogUnreadable."""
    return Log(
        workspace.log, actor, inline=_keep_inline, inline_types=(StepsCompleted,), create=create,
        busy_ms=busy_ms,
    )  # fmt: skip


def follow(log: Log) -> Follower:
    """State at the head of the log, cheaply kept up to date; of a long log it begins at the kept state."""
    return Follower(lambda after: log.read(after, but=NUMERIC), kept(log))


def state_at(log: Log, to: int | None = None) -> State:
    """The state as of a position, folded from the first fact; now (None), as `follow` has it."""
    return follow(log).catch_up() if to is None else fold(log.read(0, to=to, but=NUMERIC), EMPTY)


def newest_steps(log: Log, to: int | None = None, n: int = 32) -> list[Recorded]:
    """The newest StepsCompleted facts, oldest first: what the status document asks for."""
    return log.last(n, StepsCompleted, to=to)
