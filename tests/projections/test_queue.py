"""The queue: every file in exactly one place, whatever happens, and the order in which they come."""

from hypothesis import given, settings
from hypothesis import strategies as st

from events.types import (
    FilePlaced,
    FileQueued,
    FileReceived,
    FileRejected,
    FileRemoved,
    FileReopened,
    FileReprioritized,
    TrainingCompleted,
    TrainingFailed,
    TrainingSkipped,
    TrainingStarted,
    TrainingStopped,
)
from projections.queue import EMPTY, PRIORITIES, Queue, apply, folder
from tests.facts import recorded, sha, specimen
from tests.projections.story import Tale

ENDS = (TrainingCompleted, TrainingSkipped, TrainingFailed)


def legal(state: Queue, name: str, choice: int, priority: str):  # type: ignore[no-untyped-def]
    """A fact about this file that could come next; None when there is none of the chosen kind."""
    entry = state.entries.get(sha(name))
    if entry is None:
        return specimen(FileReceived, sha256=sha(name), name=name, priority=priority)
    match entry.state, choice % 4:
        case "validating", 0 | 1:
            return FileQueued(sha256=sha(name), priority=entry.priority)
        case "validating", 2:
            return specimen(FileRejected, sha256=sha(name))
        case "waiting", 0 | 1 if state.processing is None:
            return specimen(TrainingStarted, sha256=sha(name))
        case (("waiting" | "validating"), 3):
            return FileRemoved(sha256=sha(name), reason="asked")
        case "waiting", _:
            return FileReprioritized(sha256=sha(name), priority=priority)
        case "processing", 0:
            return specimen(TrainingStopped, sha256=sha(name))
        case "processing", n:
            return specimen(ENDS[n - 1], sha256=sha(name))
        case _:
            return FileReopened(sha256=sha(name), priority=priority)


STEPS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(0, 3), st.sampled_from(PRIORITIES)), max_size=60
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_every_file_is_in_exactly_one_place_and_the_order_is_by_level(steps) -> None:  # type: ignore[no-untyped-def]
    state = EMPTY
    for n, (name, choice, priority) in enumerate(steps, start=1):
        state = apply(state, recorded([legal(state, name, choice, priority)], after=n)[0])

        waiting = {key for key, entry in state.entries.items() if entry.state == "waiting"}
        processing = [key for key, entry in state.entries.items() if entry.state == "processing"]
        assert len(state.waiting) == len(set(state.waiting))
        assert waiting == set(state.waiting)
        assert processing == ([state.processing] if state.processing is not None else [])
        assert state.waiting == state.high + state.normal + state.low
        for level in PRIORITIES:
            assert all(state.entries[key].priority == level for key in state.level(level))
        assert set(state.unsettled) == {k for k, e in state.entries.items() if e.placed is None}


def test_high_comes_before_normal_before_low_and_each_level_is_first_in_first_out() -> None:
    tale = Tale()
    for name, priority in (("l1", "low"), ("n1", "normal"), ("h1", "high"), ("n2", "normal"), ("h2", "high")):
        tale.queues(name, priority)

    queue = tale.state.queue

    assert ["h1", "h2", "n1", "n2", "l1"] == [queue.entries[key].name for key in queue.waiting]
    assert dict(zip(queue.waiting, (1, 2, 3, 4, 5), strict=True)) == queue.positions()


def test_a_moved_file_goes_to_the_end_of_its_new_level() -> None:
    tale = Tale()
    for name, priority in (("a", "low"), ("b", "high"), ("c", "high")):
        tale.queues(name, priority)
    tale.tell(FileReprioritized(sha256=sha("a"), priority="high"))

    queue = tale.state.queue

    assert (sha("b"), sha("c"), sha("a")) == queue.high
    assert () == queue.low
    assert "queue/high" == queue.unsettled[sha("a")]


def test_a_stopped_file_returns_to_the_head_of_its_level() -> None:
    tale = Tale()
    tale.begins()
    for name in ("a", "b"):
        tale.queues(name)
    tale.starts("a", "r1")
    tale.ends(TrainingStopped, "a", "r1", 3, request=1)

    queue = tale.state.queue

    assert (sha("a"), sha("b")) == queue.normal
    assert queue.processing is None


def test_a_file_is_unsettled_until_it_lies_where_its_state_says() -> None:
    tale = Tale()
    tale.begins()
    tale.queues("a")
    tale.starts("a", "r1")
    settled = tale.state.queue
    tale.ends(TrainingCompleted, "a", "r1", 10)
    moving = tale.state.queue
    tale.tell(FilePlaced(sha256=sha("a"), path="queue/recently_completed/a"))

    assert {} == dict(settled.unsettled)
    assert {sha("a"): "queue/recently_completed"} == dict(moving.unsettled)
    assert {} == dict(tale.state.queue.unsettled)


def test_the_place_of_a_copy_is_not_the_place_of_the_file() -> None:
    tale = Tale()
    tale.queues("a")
    tale.tell(FilePlaced(sha256=sha("a"), path="queue/failed/a-2", duplicate=99))

    entry = tale.state.queue.entries[sha("a")]

    assert "queue/normal/a" == entry.placed
    assert "queue/normal" == folder(entry)


def test_reopening_counts_attempts_anew_and_forgets_the_reason() -> None:
    tale = Tale()
    tale.begins()
    tale.queues("a")
    tale.starts("a", "r1")
    tale.attempts("r1")
    tale.ends(TrainingFailed, "a", "r1", 0, reason="it died", attempts=1)
    failed = tale.state.queue.entries[sha("a")]
    tale.tell(FileReopened(sha256=sha("a"), priority="high"))
    reopened = tale.state.queue.entries[sha("a")]

    assert ("failed", 1, "it died") == (failed.state, failed.attempts, failed.reason)
    assert ("validating", 0, None, "high") == (
        reopened.state, reopened.attempts, reopened.reason, reopened.priority,
    )  # fmt: skip
