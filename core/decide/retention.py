"""Which resume points may go?"""

from events.types import CheckpointRetired, CheckpointSaved, Event, TrainingStarted
from projections.fold import State

DEPENDS_ON: tuple[type[Event], ...] = (CheckpointSaved, TrainingStarted)


def retire(state: State, keep: int) -> list[Event]:
    """Everything beyond the newest `keep`, by the log's order, but what a run or a coming version needs."""
    needed = {due.event.checkpoint for due in state.versions.due}
    if state.run.current is not None:
        needed.add(state.run.current.checkpoint or "")
    return [
        CheckpointRetired(path=checkpoint.path, reason=f"beyond checkpoints_keep = {keep}")
        for checkpoint in state.storage.usable[max(1, keep) :]
        if checkpoint.path not in needed
    ]
