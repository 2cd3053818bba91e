"""Memory of a run: decided once, kept by every try, measured, and held against what was expected."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from core.decide.memory import MOST_HALVINGS
from core.train.attention import DOCUMENTS
from core.train.memory import build, recompute
from core.train.planning import Way, way_of
from core.train.refusals import MemoryTooSmall
from events.types import (
    AttemptStarted,
    MemoryMeasured,
    MemoryPlanned,
    StepsCompleted,
    TrainingCompleted,
    TrainingStarted,
)
from tests.core.train.made import stops
from tests.core.train.stand import ROWS, SETTINGS, Stand, StopAfter, column, only

Make = Callable[..., Stand]


def bytes_of(stand: Stand) -> tuple[int, int, int]:
    """low, expected and high of all terms of its plan."""
    low, expected, high = zip(*only(stand, MemoryPlanned).terms.values(), strict=True)
    return sum(low), sum(expected), sum(high)


def test_a_run_is_planned_before_its_first_step_and_measured_after_its_last(undisturbed: Stand) -> None:
    planned, measured = only(undisturbed, MemoryPlanned), only(undisturbed, MemoryMeasured)
    at = {type(r.event): r.seq for r in undisturbed.facts(MemoryPlanned, AttemptStarted, StepsCompleted)}

    assert at[MemoryPlanned] < at[AttemptStarted] < at[StepsCompleted]
    assert ("cpu", False, 0, 1.0) == (
        planned.device, planned.checkpointing, planned.halvings, planned.ratio
    )  # fmt: skip
    assert 0 < planned.tokens <= SETTINGS.batch_size * SETTINGS.max_length
    assert only(undisturbed, TrainingCompleted).steps == measured.steps
    assert (planned.expected_bytes, planned.tokens) == (measured.expected_bytes, measured.tokens)
    assert measured.peak_bytes > 0
    assert {} == dict(undisturbed.follower.catch_up().memory.plans)


def test_what_a_trainer_process_takes_lies_within_the_estimate(stand: Stand) -> None:
    stand.start(stand.queue("a.jsonl"))

    assert 0 == stand.spawn().wait()
    low, _, high = bytes_of(stand)
    measured = only(stand, MemoryMeasured)
    assert low <= measured.peak_bytes <= high
    assert not measured.whole_process


def test_less_memory_recomputes_then_halves_and_trains_the_same_rows(
    make_stand: Make, undisturbed: Stand
) -> None:
    low, expected, high = bytes_of(undisturbed)
    found = []
    for name, room in (("enough", 2 * high), ("less", high), ("little", (low + expected) // 2)):
        stand = make_stand(name)
        stand.start(stand.queue("a.jsonl", rows=40))
        stand.train(room=room)
        found.append((only(stand, MemoryPlanned), column(stand, "row_digest"), column(stand, "loss")))
    (enough, rows, losses), (less, *same), (little, others, near) = found

    assert [(False, 0), (True, 0), (True, MOST_HALVINGS)] == [
        (plan.checkpointing, plan.halvings) for plan in (enough, less, little)
    ]
    assert [rows, losses] == same
    assert rows == others
    assert losses == pytest.approx(near, rel=0.05)  # dropout is drawn otherwise
    assert little.tokens < less.tokens == enough.tokens


def test_a_run_that_goes_on_is_never_decided_anew(make_stand: Make, undisturbed: Stand) -> None:
    low, expected, high = bytes_of(undisturbed)
    finals = []
    for name, looks in (("whole", 10**9), ("halted", 12)):
        stand = make_stand(name)
        stand.start(stand.queue("a.jsonl", rows=ROWS))
        stand.train(stop=StopAfter(looks), room=(low + expected) // 2)
        stand.train(room=9 * high)
        finals.append(stand.final())
        assert MOST_HALVINGS == only(stand, MemoryPlanned).halvings

    assert finals[0] == finals[1]
    assert 2 == len(stand.facts(AttemptStarted)) == len(stand.facts(MemoryMeasured))


def test_other_settings_of_memory_are_decided_anew_when_a_stopped_run_goes_on(
    make_stand: Make, undisturbed: Stand
) -> None:
    stand = make_stand("stopped")
    sha256 = stand.queue("a.jsonl", rows=ROWS)
    stand.start(sha256)
    stops(stand)
    stand.configure(replace(stand.settings, gradient_checkpointing=True))
    stand.start(sha256)
    stand.train()

    assert 1 == len({r.event.run for r in stand.facts(TrainingStarted)})  # type: ignore[attr-defined]
    assert [False, True] == [r.event.checkpointing for r in stand.facts(MemoryPlanned)]  # type: ignore[attr-defined]
    assert undisturbed.final()[:3] == stand.final()[:3]


def test_a_log_without_plans_is_trained_as_it_was(undisturbed: Stand) -> None:
    planned = undisturbed.facts(MemoryPlanned)[0].event
    assert isinstance(planned, MemoryPlanned)

    assert [Way(False), Way(True), Way(False)] == [way_of(None, asked) for asked in ("auto", True, False)]
    assert Way(True, 2) == way_of(structs.replace(planned, checkpointing=True, halvings=2), "auto")


def test_what_cannot_fit_is_refused_with_the_sum_and_what_to_do(stand: Stand, undisturbed: Stand) -> None:
    low, _, _ = bytes_of(undisturbed)
    stand.start(stand.queue("a.jsonl"))

    with pytest.raises(MemoryTooSmall, match=r"weights .* GiB .* too few .*lower max_length") as refused:
        stand.train(room=low // 2)
    assert "End other programs" in str(refused.value)
    assert [] == stand.facts(MemoryPlanned, AttemptStarted)


def test_a_measured_peak_corrects_the_next_run(undisturbed: Stand, make_stand: Make) -> None:
    stand = make_stand("twice")
    for name in ("a.jsonl", "b.jsonl"):
        stand.start(stand.queue(name, seed=len(name + name[0]) + ord(name[0])))
        stand.train()
    first, second = (r.event for r in stand.facts(MemoryPlanned))
    measured = stand.facts(MemoryMeasured)[0].event
    assert isinstance(first, MemoryPlanned) and isinstance(second, MemoryPlanned)
    assert isinstance(measured, MemoryMeasured)

    assert 1.0 == first.ratio
    assert measured.peak_bytes / first.expected_bytes == pytest.approx(second.ratio)


def test_recomputation_is_switched_on_a_model_in_memory(base_folder: Path) -> None:
    memory = build(base_folder, replace(SETTINGS, gradient_checkpointing="auto"))
    network = memory.model.network
    found = [network.is_activation_checkpointing]
    for wanted in (True, True, False, False):
        recompute(memory, wanted)
        found.append(network.is_activation_checkpointing)

    assert [False, True, True, False, False] == found
    assert DOCUMENTS == memory.attention
