"""The control: what was asked, what still waits for an answer, and the mode that outlives a restart."""

import pytest

from events.codec import TYPES
from events.types import (
    BackupStarted,
    Event,
    FileRemoved,
    FileReopened,
    FileReprioritized,
    MoveRequested,
    PauseRequested,
    PinRequested,
    RemoveRequested,
    RequestRefused,
    ResumeRequested,
    RetryRequested,
    ServicePaused,
    ServiceResumed,
    ServiceStopped,
    SkipRequested,
    StopRequested,
    TrainingPaused,
    TrainingSkipped,
    TrainingStopped,
)
from projections.control import ANSWERS, EMPTY, REQUESTS, apply
from tests.facts import recorded, specimen

ANSWERED: list[tuple[type[Event], type[Event], str]] = [
    (PauseRequested, TrainingPaused, "paused"),
    (PauseRequested, ServicePaused, "paused"),
    (StopRequested, TrainingStopped, "stopped"),
    (StopRequested, ServiceStopped, "stopped"),
    (ResumeRequested, ServiceResumed, "running"),
    (SkipRequested, TrainingSkipped, "running"),
    (MoveRequested, FileReprioritized, "running"),
    (RemoveRequested, FileRemoved, "running"),
    (RetryRequested, FileReopened, "running"),
    *((asked, RequestRefused, "running") for asked in REQUESTS),
]


@pytest.mark.parametrize(("asked", "answer", "mode"), ANSWERED)
def test_a_request_is_open_until_its_own_answer(asked: type[Event], answer: type[Event], mode: str) -> None:
    state = EMPTY
    facts = [specimen(asked), specimen(asked), specimen(answer, request=2)]
    for fact in recorded(facts):
        state = apply(state, fact)

    assert [1] == [request.seq for request in state.pending]
    assert mode == state.mode


@pytest.mark.parametrize("cls", [cls for cls in TYPES.values() if "request" in cls.__struct_fields__])
def test_every_fact_that_names_a_request_ends_it_but_one_that_tells_of_a_beginning(cls: type[Event]) -> None:
    state = EMPTY
    for fact in recorded([specimen(PinRequested), specimen(cls, request=1)]):
        state = apply(state, fact)

    assert (cls is BackupStarted) == (state.pending != ())
    assert (cls is not BackupStarted) == (cls in ANSWERS)


def test_a_change_by_hand_answers_nobody() -> None:
    state = EMPTY
    for fact in recorded([specimen(MoveRequested), specimen(FileReprioritized, request=None)]):
        state = apply(state, fact)

    assert [1] == [request.seq for request in state.pending]


def test_nothing_may_train_from_the_moment_a_pause_or_stop_was_asked() -> None:
    for asked in (PauseRequested(), StopRequested()):
        assert not apply(EMPTY, recorded([asked])[0]).may_train
    assert apply(EMPTY, recorded([SkipRequested(run="r1")])[0]).may_train
