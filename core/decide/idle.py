"""Is there nothing left to do, and how did it end?"""

from projections.fold import State

DONE, FAILED, HALTED = 0, 1, 3


def is_halted(state: State) -> bool:
    """Does what is left wait for something that nothing at work here will bring? A full disk, a person."""
    training = state.run.current is not None
    if state.health.waiting(training=training) is not None:
        return True
    return bool(state.queue.waiting) and not training and not state.queue.counts("validating")


def verdict(state: State, since: int, *, inbox_empty: bool) -> int | None:
    """The exit code of `--until-idle`; None while something is still going on.

    `since`: the log's head when the service started; how older files ended is no matter of this one.
    """
    if state.health.fatal is not None:
        return FAILED
    if state.control.is_asked:
        return None
    if state.control.mode in ("paused", "stopped"):
        return HALTED
    busy = (
        not inbox_empty
        or state.queue.counts("validating", "waiting", "processing")
        or state.versions.due
        or state.queue.unsettled
        or any(copy.placed is None for copy in state.inbox.duplicates.values())
        or state.health.waiting(training=False) is not None  # a backup, say, which will go on
    )
    if busy:
        return None
    ended = [entry for entry in state.queue.entries.values() if entry.since > since]
    return FAILED if any(entry.state in ("rejected", "failed") for entry in ended) else DONE
