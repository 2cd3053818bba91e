"""The alerts of training and machine: raised at their number, cleared at a calmer one, silent otherwise."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.decide.alerts import (
    BASELINE_STEP,
    CALM_STEPS,
    FAST_AGAIN,
    GPU_COOL_C,
    GPU_HOT_C,
    GRAD_NORM,
    LOSS_FACTOR,
    LOSS_MEAN_OF,
    RAM_EASY,
    RAM_FULL,
    SLOW,
    Trend,
    follow,
    of_machine,
    of_training,
)
from events.types import AlertCleared, AlertRaised, Event


def steps(
    trend: Trend, count: int, loss: float | None = 2.0, norm: float | None = 1.0, seconds: float = 1.0
) -> Trend:
    return follow(
        trend,
        {
            "loss": [loss] * count, "grad_norm": [norm] * count, "tokens": [1000] * count,
            "seconds": [seconds] * count,
        },
    )  # fmt: skip


def types(events: Sequence[Event]) -> list[tuple[type[Event], Any]]:
    return [(type(event), getattr(event, "type")) for event in events]  # noqa: B009


BEGUN = steps(Trend("r1"), BASELINE_STEP)


def test_ordinary_steps_raise_nothing() -> None:
    assert [] == of_training(steps(BEGUN, 500), ())
    assert [] == of_training(None, ())


def test_a_jump_of_the_loss_is_told_and_over_after_calm_steps() -> None:
    jumped = steps(BEGUN, 1, loss=2.0 * LOSS_FACTOR)
    (raised,) = of_training(jumped, ())
    just_below = steps(BEGUN, 1, loss=2.0 * LOSS_FACTOR - 0.01)

    assert isinstance(raised, AlertRaised)
    assert ("warning", "loss_jump") == (raised.severity, raised.type)
    assert [] == of_training(just_below, ()) == of_training(steps(jumped, CALM_STEPS - 1), ["loss_jump"])
    assert [(AlertCleared, "loss_jump")] == types(
        of_training(steps(jumped, CALM_STEPS), ["loss_jump", "port"])
    )


def test_before_there_is_a_mean_no_loss_is_a_jump() -> None:
    early = steps(Trend("r1"), LOSS_MEAN_OF - 1)

    assert [] == of_training(steps(early, 1, loss=1e9), ())


def test_a_large_gradient_is_told() -> None:
    assert [(AlertRaised, "grad_norm")] == types(of_training(steps(BEGUN, 1, norm=GRAD_NORM + 1), ()))
    assert [] == of_training(steps(BEGUN, 1, norm=GRAD_NORM), ())


def test_a_slower_machine_is_told_once_its_mean_is_below_and_over_when_it_is_faster_again() -> None:
    slow = steps(BEGUN, 200, seconds=1 / (SLOW - 0.05))
    between = steps(BEGUN, 200, seconds=2 / (SLOW + FAST_AGAIN))

    assert [(AlertRaised, "throughput")] == types(of_training(slow, ()))
    assert [] == of_training(steps(BEGUN, 1, seconds=10), ())  # one slow step is none
    assert [] == of_training(between, ()) == of_training(between, ["throughput"])
    assert [(AlertCleared, "throughput")] == types(of_training(steps(slow, 200), ["throughput"]))


def test_when_the_run_is_over_nothing_is_wrong_with_it() -> None:
    names = ["throughput", "loss_jump", "grad_norm"]

    assert [(AlertCleared, name) for name in names] == types(of_training(None, names))


@given(st.lists(st.tuples(*[st.none() | st.floats(0, 1e6)] * 2), max_size=60))
def test_a_value_that_is_not_known_moves_nothing(rows: list[tuple[float | None, float | None]]) -> None:
    trend = BEGUN
    for loss, norm in rows:
        trend = steps(trend, 1, loss=loss, norm=norm)

    assert BASELINE_STEP + len(rows) == trend.steps
    assert all(loss is not None for loss in trend.losses)


@pytest.mark.parametrize(
    ("celsius", "share", "raised", "told"),
    [
        (GPU_HOT_C - 1, RAM_FULL - 0.01, (), []),
        (GPU_HOT_C, 0.1, (), [(AlertRaised, "gpu_hot")]),
        (GPU_COOL_C, 0.1, ("gpu_hot",), []),
        (GPU_COOL_C - 1, 0.1, ("gpu_hot",), [(AlertCleared, "gpu_hot")]),
        (None, 0.1, ("gpu_hot",), [(AlertCleared, "gpu_hot")]),
        (None, RAM_FULL, (), [(AlertRaised, "ram")]),
        (None, RAM_EASY, ("ram",), []),
        (None, RAM_EASY - 0.01, ("ram",), [(AlertCleared, "ram")]),
    ],
)
def test_heat_and_memory_are_told_at_their_numbers(
    celsius: int | None, share: float, raised: tuple[str, ...], told: list[tuple[type[Event], str]]
) -> None:
    sample = {
        "gpu": [{"name": "x", "temperature_c": celsius}],
        "ram": {"used_bytes": round(share * 10_000), "total_bytes": 10_000},
    }

    assert told == types(of_machine(sample, 1, raised))


def test_a_card_that_says_nothing_is_lost_also_to_one_who_never_heard_it() -> None:
    sample = {
        "gpu": [{"name": "x", "temperature_c": 40}, {"name": None, "temperature_c": None}],
        "ram": {"used_bytes": 1, "total_bytes": 10},
    }

    assert [(AlertRaised, "gpu_lost")] == types(of_machine(sample, 0, ()))
    assert [] == types(of_machine(sample, 0, ("gpu_lost",)))
