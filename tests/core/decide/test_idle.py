"""When `--until-idle` ends, and how."""

import pytest

from core.decide.idle import DONE, FAILED, HALTED, is_halted, verdict
from events.types import (
    AlertCleared,
    AlertRaised,
    DecayRequested,
    Event,
    FileDuplicate,
    FilePlaced,
    FileRejected,
    PauseRequested,
    ServicePaused,
    ServiceStopped,
    StopRequested,
    TrainingCompleted,
    TrainingFailed,
    TrainingSkipped,
)
from tests.facts import sha, specimen
from tests.projections.story import Tale


def begun() -> Tale:
    tale = Tale()
    tale.begins()
    return tale


def through(kind: type[Event], folder: str) -> Tale:
    """A file that was trained to this end and lies where it belongs."""
    tale = begun()
    tale.queues("a")
    tale.starts("a", "r1")
    tale.ends(kind, "a", "r1", 10)
    if kind is TrainingCompleted:
        tale.publishes("v0001", "a", "r1")
    tale.tell(FilePlaced(sha256=sha("a"), path=f"queue/{folder}/a"))
    return tale


def test_an_empty_workspace_is_idle_once_the_inbox_was_looked_at() -> None:
    assert verdict(begun().state, 0, inbox_empty=False) is None
    assert DONE == verdict(begun().state, 0, inbox_empty=True)


@pytest.mark.parametrize(
    ("kind", "folder", "expected"),
    [
        (TrainingCompleted, "recently_completed", DONE),
        (TrainingSkipped, "failed", DONE),
        (TrainingFailed, "failed", FAILED),
    ],
)
def test_the_end_of_the_files_is_the_exit_code(kind: type[Event], folder: str, expected: int) -> None:
    assert expected == verdict(through(kind, folder).state, 0, inbox_empty=True)


def test_a_rejected_file_is_a_failure_and_a_duplicate_is_none() -> None:
    rejected = begun()
    rejected.receives("a")
    rejected.tell(specimen(FileRejected, sha256=sha("a")), FilePlaced(sha256=sha("a"), path="queue/failed/a"))
    doubled = through(TrainingCompleted, "recently_completed")
    copy = doubled.tell(specimen(FileDuplicate, sha256=sha("a"), name="b"))
    unplaced = verdict(doubled.state, 0, inbox_empty=True)
    doubled.tell(FilePlaced(sha256=sha("a"), path="queue/failed/b", duplicate=copy))

    assert FAILED == verdict(rejected.state, 0, inbox_empty=True)
    assert unplaced is None
    assert DONE == verdict(doubled.state, 0, inbox_empty=True)


def test_how_older_files_ended_is_no_matter_of_this_service() -> None:
    state = through(TrainingFailed, "failed").state

    assert DONE == verdict(state, state.seq, inbox_empty=True)


def test_it_is_not_over_at_any_step_of_a_files_way() -> None:
    tale = through(TrainingCompleted, "recently_completed")
    created = 2

    for cut in range(created + 1, len(tale.facts)):
        part = Tale()
        part.tell(*tale.facts[:cut])
        assert verdict(part.state, 0, inbox_empty=True) is None or cut == len(tale.facts) - 1


def test_paused_or_stopped_ends_with_its_own_code_when_the_request_was_answered() -> None:
    for request, answer in ((PauseRequested(), ServicePaused), (StopRequested(), ServiceStopped)):
        tale = begun()
        tale.queues("a")
        asked = tale.tell(request)
        waiting = verdict(tale.state, 0, inbox_empty=True)
        tale.tell(answer(request=asked))

        assert waiting is None
        assert HALTED == verdict(tale.state, 0, inbox_empty=True)


def test_a_decay_for_a_run_to_come_holds_up_no_end() -> None:
    tale = begun()
    tale.tell(DecayRequested())

    assert DONE == verdict(tale.state, 0, inbox_empty=True)


def test_a_fatal_alert_is_a_failure_whatever_waits() -> None:
    tale = begun()
    tale.queues("a")
    tale.tell(AlertRaised(severity="fatal", type="base", detail="damaged"))

    assert FAILED == verdict(tale.state, 0, inbox_empty=True)


@pytest.mark.parametrize(
    ("alert", "while_training", "expected"),
    [
        (None, False, True), (None, True, False),
        ("waiting:save", True, True), ("waiting:backup", True, False), ("waiting:backup", False, True),
    ],
)  # fmt: skip
def test_it_is_halted_while_what_is_left_waits_for_somebody_else(
    alert: str | None, while_training: bool, expected: bool
) -> None:
    tale = begun()
    tale.queues("a")
    if while_training:
        tale.starts("a", "r1")
    if alert is not None:
        tale.tell(AlertRaised(severity="warning", type=alert, detail="the disk is full"))

    assert expected == is_halted(tale.state)


def test_a_full_disk_halts_it_also_with_a_file_that_is_being_checked() -> None:
    tale = begun()
    tale.receives("a")
    checking = is_halted(tale.state)
    tale.tell(AlertRaised(severity="warning", type="waiting:validate", detail="the disk is full"))

    assert not checking
    assert is_halted(tale.state)


def test_what_waits_for_space_is_neither_done_nor_forgotten() -> None:
    tale = through(TrainingCompleted, "recently_completed")
    tale.tell(AlertRaised(severity="serious", type="waiting:backup", detail="the disk is full"))
    during = verdict(tale.state, 0, inbox_empty=True), is_halted(tale.state)
    tale.tell(AlertCleared(type="waiting:backup"))

    assert (None, True) == during
    assert DONE == verdict(tale.state, 0, inbox_empty=True)


def test_what_is_done_is_not_halted() -> None:
    assert not is_halted(through(TrainingCompleted, "recently_completed").state)
