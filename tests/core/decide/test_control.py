"""The answers to requests: given facts, when asked, then facts."""

from typing import Any

import pytest

from core.decide.control import answer
from core.decide.dispatch import wants_trainer
from events.types import (
    ConfigChanged,
    DecayRequested,
    Event,
    FileRemoved,
    FileReopened,
    FileReprioritized,
    MoveRequested,
    PauseRequested,
    RemoveRequested,
    RequestRefused,
    ResumeRequested,
    RetryRequested,
    ServicePaused,
    ServiceStopped,
    SkipRequested,
    StopRequested,
    TrainingCompleted,
    TrainingPaused,
    TrainingSkipped,
    TrainingStopped,
)
from tests.facts import sha, specimen
from tests.projections.story import Tale


def settle(tale: Tale, *, trainer_alive: bool = False) -> list[tuple[str, int]]:
    """Answer until nothing is left to say: (what, which request) in order."""
    said = []
    while facts := answer(tale.state, trainer_alive=trainer_alive):
        tale.tell(*facts)
        said += [(type(fact).__name__, int(getattr(fact, "request"))) for fact in facts]  # noqa: B009
    return said


def idle() -> Tale:
    tale = Tale()
    tale.begins()
    return tale


def training() -> Tale:
    tale = idle()
    tale.queues("a")
    tale.starts("a", "r1", at=100)
    tale.saves("r1", 4, at=100)
    return tale


def asks(tale: Tale, *requests: Event) -> list[int]:
    return [tale.tell(request) for request in requests]


def test_pause_and_stop_take_effect_at_once_while_nothing_trains() -> None:
    for request, outcome in ((PauseRequested(), ServicePaused), (StopRequested(), ServiceStopped)):
        tale = idle()
        (asked,) = asks(tale, request)

        assert [outcome(request=asked)] == answer(tale.state, trainer_alive=False)


def test_a_living_trainer_answers_pause_stop_and_skip_itself() -> None:
    for request in (PauseRequested(), StopRequested(), SkipRequested(run="r1")):
        tale = training()
        asks(tale, request)

        assert [] == answer(tale.state, trainer_alive=True)


@pytest.mark.parametrize(
    ("request_fact", "outcome", "mode"),
    [
        (PauseRequested(), TrainingPaused, "paused"),
        (StopRequested(), TrainingStopped, "stopped"),
        (SkipRequested(run="r1"), TrainingSkipped, "running"),
    ],
)
def test_without_a_trainer_the_newest_resume_point_is_where_the_run_stands(
    request_fact: Event, outcome: Any, mode: str
) -> None:
    tale = training()
    (asked,) = asks(tale, request_fact)
    path = "models/current_model/checkpoint-104"
    expected = outcome(run="r1", sha256=sha("a"), step=4, global_step=104, checkpoint=path, request=asked)

    facts = answer(tale.state, trainer_alive=False)
    tale.tell(*facts)

    assert [expected] == facts
    assert mode == tale.state.control.mode


def test_a_second_pause_and_a_second_stop_are_refused() -> None:
    for first, second in (
        (PauseRequested(), PauseRequested()),
        (StopRequested(), StopRequested()),
        (StopRequested(), PauseRequested()),
    ):
        tale = training()
        one, two = asks(tale, first, second)

        said = settle(tale)

        assert [two] == [request for what, request in said if what == "RequestRefused"]
        assert one in [request for _, request in said]


def test_a_second_resume_is_refused() -> None:
    tale = training()
    pause, resume, again = asks(tale, PauseRequested(), ResumeRequested(), ResumeRequested())

    assert [("RequestRefused", pause), ("ServiceResumed", resume), ("RequestRefused", again)] == settle(tale)


def test_a_resume_with_nothing_paused_is_refused() -> None:
    tale = idle()
    (asked,) = asks(tale, ResumeRequested())

    (refusal,) = answer(tale.state, trainer_alive=False)

    assert RequestRefused(request=asked, reason="nothing is paused or stopped") == refusal


@pytest.mark.parametrize("alive", [True, False])
def test_a_resume_takes_back_every_pause_and_stop_that_has_not_begun(alive: bool) -> None:
    tale = training()
    pause, stop, resume = asks(tale, PauseRequested(), StopRequested(), ResumeRequested())

    said = settle(tale, trainer_alive=alive)

    assert [("RequestRefused", pause), ("RequestRefused", stop), ("ServiceResumed", resume)] == said
    assert "running" == tale.state.control.mode
    assert wants_trainer(tale.state)


def test_a_pause_after_the_resume_still_counts() -> None:
    tale = idle()
    first, resume, second = asks(tale, PauseRequested(), ResumeRequested(), PauseRequested())

    said = settle(tale)

    assert [("RequestRefused", first), ("ServiceResumed", resume), ("ServicePaused", second)] == said


def test_a_stop_while_paused_sends_the_file_back_to_the_queue() -> None:
    tale = training()
    tale.ends(TrainingPaused, "a", "r1", 4, at=100, request=asks(tale, PauseRequested())[0])
    (stop,) = asks(tale, StopRequested())

    assert [("TrainingStopped", stop)] == settle(tale)
    assert (sha("a"),) == tale.state.queue.waiting
    assert "stopped" == tale.state.control.mode


def test_a_skip_while_paused_ends_the_run_and_the_pause_stays() -> None:
    tale = training()
    tale.ends(TrainingPaused, "a", "r1", 4, at=100, request=asks(tale, PauseRequested())[0])
    (skip,) = asks(tale, SkipRequested(run="r1"))

    assert [("TrainingSkipped", skip)] == settle(tale)
    assert "paused" == tale.state.control.mode
    assert "skipped" == tale.state.queue.entries[sha("a")].state


@pytest.mark.parametrize(("run", "open_run"), [("r0", True), (None, True), ("r1", False), (None, False)])
def test_a_skip_meant_for_another_run_is_refused(run: str | None, open_run: bool) -> None:
    tale = training()
    if not open_run:
        tale.ends(TrainingCompleted, "a", "r1", 10, at=100)
    (asked,) = asks(tale, SkipRequested(run=run))

    assert [("RequestRefused", asked)] == settle(tale, trainer_alive=True)


@pytest.mark.parametrize(
    ("request_fact", "expected"),
    [
        (MoveRequested(sha256=sha("w"), priority="high"), FileReprioritized),
        (MoveRequested(sha256=sha("w"), priority="normal"), RequestRefused),
        (MoveRequested(sha256=sha("w"), priority="urgent"), RequestRefused),
        (MoveRequested(sha256=sha("a"), priority="high"), RequestRefused),
        (MoveRequested(sha256=sha("stranger"), priority="high"), RequestRefused),
        (RemoveRequested(sha256=sha("w")), FileRemoved),
        (RemoveRequested(sha256=sha("a")), RequestRefused),
        (RemoveRequested(sha256=sha("stranger")), RequestRefused),
        (RetryRequested(sha256=sha("w")), RequestRefused),
        (RetryRequested(sha256=sha("a")), RequestRefused),
        (RetryRequested(sha256=sha("stranger")), RequestRefused),
        (RetryRequested(sha256=sha("gone")), FileReopened),
    ],
)
def test_only_waiting_files_move_and_leave_and_only_ended_ones_return(
    request_fact: Event, expected: type[Event]
) -> None:
    tale = training()
    for name in ("w", "gone"):
        tale.queues(name)
    tale.tell(FileRemoved(sha256=sha("gone"), reason="asked"))
    (asked,) = asks(tale, request_fact)

    assert [(expected.__name__, asked)] == settle(tale, trainer_alive=True)
    assert () == tale.state.control.pending


def test_no_order_of_requests_leaves_one_without_an_answer() -> None:
    kinds: list[Event] = [PauseRequested(), ResumeRequested(), StopRequested(), SkipRequested(run="r1")]
    for first in kinds:
        for second in kinds:
            for third in kinds:
                tale = training()
                asked = asks(tale, first, second, third)

                said = settle(tale)

                assert () == tale.state.control.pending
                assert asked == sorted(request for _, request in said)


def test_a_decay_waits_for_a_run_and_is_refused_under_any_other_schedule() -> None:
    tale = idle()
    (early,) = asks(tale, DecayRequested())
    refused = settle(tale)
    tale.tell(specimen(ConfigChanged, config={"lr_schedule": "wsd"}))
    first, second = asks(tale, DecayRequested(), DecayRequested())
    doubled = settle(tale, trainer_alive=True)
    waits = tale.state.control.first("DecayRequested")
    tale.tell(specimen(ConfigChanged, config={"lr_schedule": "cosine_per_file"}))

    assert [("RequestRefused", early)] == refused
    assert [("RequestRefused", second)] == doubled
    assert waits is not None
    assert first == waits.seq
    assert [("RequestRefused", first)] == settle(tale)
    assert "lr_schedule is cosine_per_file: only wsd decays" in tale.facts[-1].reason  # type: ignore[attr-defined]
