"""Where does the open run go on, which resume points must stay? By the log's order alone, newest first."""

from events.types import (
    CheckpointQuarantined,
    CheckpointSaved,
    ConsolidateRequested,
    Event,
    TrainingCompleted,
    TrainingStarted,
    VersionPublished,
    VersionRestored,
)
from projections.fold import State
from projections.run import Run
from projections.standing import Position, next_start
from projections.storage import Checkpoint

#: What this module says rests on these.
DEPENDS_ON: tuple[type[Event], ...] = (
    CheckpointSaved,
    CheckpointQuarantined,
    TrainingStarted,
    TrainingCompleted,
    VersionPublished,
    VersionRestored,
    ConsolidateRequested,
)


def positions(state: State, run: Run) -> list[Position]:
    """Where `run` may go on, best first: its own resume points since it was started, then where it started.

    Anything older belongs to other steps: using it would lose or repeat rows in silence.
    """
    found = [
        Position(c, c.step, c.global_step)
        for c in state.storage.usable
        if c.run == run.id and c.saved > run.started
    ]
    if run.checkpoint is None:
        found.append(Position(None, run.step, run.global_step, run.weights))
    found += [
        Position(c, run.step, run.global_step) for c in state.storage.usable if c.path == run.checkpoint
    ]
    return found


def standing(state: State, run: Run) -> Position:
    """Where the run stands now, as far as the disk can give it back."""
    return (positions(state, run) or [Position(None, run.step, run.global_step, run.weights)])[0]


def branch(state: State) -> list[Checkpoint]:
    """The usable resume points that lead to where the model stands, newest first; none of other branches."""
    restored = state.versions.restored
    if restored is None:
        return list(state.storage.usable)
    known = state.versions.versions
    runs = {known[version].run for version in state.versions.ancestors(restored.version)}
    until = known[restored.version].published
    return [
        c for c in state.storage.usable if c.saved > restored.seq or (c.run in runs and c.saved < until)
    ]


def sources(state: State, average: int) -> list[Checkpoint]:
    """The newest so many resume points of the branch, for a release; empty: there are not so many.

    The newest must be where the model stands: a release of anything older would not be what is trained.
    """
    found = branch(state)[:average]
    stands = next_start(state).path
    return found if len(found) == average > 0 and found[0].path == stands else []


def needed_checkpoints(state: State) -> set[str]:
    """Paths of the resume points that must stay, whatever the policy says.

    Those that a due version is made of, that the open run goes on from or began at, that the next run begins
    at (a stopped one goes on from there as well), and that a release which was asked for is made of.
    """
    needed = {due.event.checkpoint for due in state.versions.due} | {next_start(state).path}
    run = state.run.current
    if run is not None:
        needed |= {run.checkpoint, standing(state, run).path}
    for request in state.control.pending:
        if request.type == "ConsolidateRequested":
            needed |= {c.path for c in sources(state, 1 if request.average is None else request.average)}
    return {path for path in needed if path is not None}
