"""The learning rate as the log has it: what was in force at a run's start, all its life."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from events.types import DecayRequested, StepsCompleted, TrainingInterrupted, TrainingStarted
from tests.core.train.stand import Stand, StopAfter, column

Make = Callable[..., Stand]


def rates(stand: Stand, run: str) -> list[float]:
    facts = [r.event for r in stand.facts(StepsCompleted)]
    return [rate for e in facts if isinstance(e, StepsCompleted) and e.run == run
            for rate in e.columns["learning_rate"] if rate is not None]  # fmt: skip


def test_a_changed_rate_acts_at_the_next_file_and_both_are_facts(make_stand: Make) -> None:
    stand = make_stand("changed", warmup_steps=0)
    first = stand.start(stand.queue("a.jsonl", rows=120))
    before = stand.settings.learning_rate
    stand.train(stop=StopAfter(5))
    stand.configure(replace(stand.settings, learning_rate=before / 3))  # in the middle of the first
    stand.train()
    second = stand.start(stand.queue("b.jsonl"))
    stand.train()

    assert 1 == len(stand.facts(TrainingInterrupted))
    assert {before} == set(rates(stand, first))
    assert {before / 3} == set(rates(stand, second))
    started = [r.event.config["learning_rate"] for r in stand.facts(TrainingStarted)]
    assert [before, before / 3] == started


def test_a_decay_falls_to_almost_nothing_also_over_a_halt_and_the_next_file_is_at_the_peak(
    make_stand: Make,
) -> None:
    stand = make_stand("decayed", lr_schedule="wsd", warmup_steps=0)
    (asked,) = stand.log.append(DecayRequested())
    first = stand.start(stand.queue("a.jsonl", rows=120))
    stand.train(stop=StopAfter(5))
    stand.train()
    second = stand.start(stand.queue("b.jsonl"))
    stand.train()
    peak, planned = stand.settings.learning_rate, stand.follower.catch_up().run.runs[first].steps_planned

    assert 1 == len(stand.facts(TrainingInterrupted))
    falling = [peak * left / planned for left in range(planned, 0, -1)]
    assert pytest.approx(falling, rel=1e-5) == rates(stand, first)
    assert {peak} == set(rates(stand, second))
    starts = [(r.event.decays, r.event.request) for r in stand.facts(TrainingStarted)]
    assert [(True, asked), (False, None)] == starts
    assert len(column(stand, "loss")) == planned + len(rates(stand, second))
