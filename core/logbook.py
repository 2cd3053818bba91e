"""The log as this service opens it: with the curves kept inside the appending transaction."""

from collections.abc import Sequence
from typing import Any

from db import rollups
from db.engine import BUSY_MS
from db.workspace import Workspace
from events.log import Log
from events.types import Recorded, StepsCompleted
from projections import curves
from projections.fold import EMPTY, FOLDED, Follower, State, fold


def _inline(connection: Any, facts: Sequence[Recorded]) -> None:
    if rows := curves.partials(facts):
        rollups.merge(connection, rows)


def open_log(
    workspace: Workspace, actor: str, *, create: bool = False, busy_ms: int = BUSY_MS
) -> Log:
    """This process's log; one per process. Raises LogUnreadable."""
    return Log(workspace.log, actor, inline=_inline, create=create, busy_ms=busy_ms)


def follow(log: Log) -> Follower:
    """State at the head of the log, cheaply kept up to date."""
    return Follower(lambda after: log.read(after, types=FOLDED))


def state_at(log: Log, to: int | None = None) -> State:
    """The state as of a position (None: now), folded from the first fact."""
    return fold(log.read(0, to=to, types=FOLDED), EMPTY)


def newest_steps(log: Log, to: int | None = None, n: int = 32) -> list[Recorded]:
    """The newest StepsCompleted facts, oldest first: what the status document asks for."""
    return log.last(n, StepsCompleted, to=to)
