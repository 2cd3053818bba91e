"""The learning rate and what is due: functions of the position, so a restart changes nothing."""

from dataclasses import replace

import numpy as np
import pytest

from core.decide.batches import lay_out
from core.decide.training import asked, is_evaluation_due, is_save_due, learning_rate
from core.settings import Settings
from projections.control import Control, Request

SETTINGS = Settings(learning_rate=1e-3, warmup_steps=10, eval_steps=50, save_steps=200)


def curve(settings: Settings, *files: int) -> list[list[float]]:
    """The rates of files with so many steps each, one after the other."""
    rates, done = [], 0
    for steps in files:
        rates.append([learning_rate(settings, step, steps, done + step) for step in range(1, steps + 1)])
        done += steps
    return rates


def test_constant_warms_up_once_in_a_models_life() -> None:
    first, second, third = curve(SETTINGS, 20, 7, 30)

    assert [pytest.approx(1e-4 * step) for step in range(1, 11)] == first[:10]
    assert {1e-3} == {*first[10:], *second, *third}


def test_a_warm_up_that_a_short_file_cuts_goes_on_in_the_next() -> None:
    first, second = curve(SETTINGS, 4, 8)

    assert [pytest.approx(1e-4 * step) for step in range(1, 11)] == (first + second)[:10]


def test_cosine_falls_from_the_peak_to_almost_nothing_in_every_file() -> None:
    settings = replace(SETTINGS, lr_schedule="cosine_per_file", warmup_steps=0)

    for rates in curve(settings, 20, 7, 30):
        assert 1e-3 == rates[0]
        assert sorted(rates, reverse=True) == rates
        assert 0 < rates[-1] < 0.06e-3


def test_wsd_stays_at_the_peak_until_a_decay_is_asked_for() -> None:
    assert curve(SETTINGS, 20, 30) == curve(replace(SETTINGS, lr_schedule="wsd"), 20, 30)


def test_no_warm_up_begins_at_the_peak() -> None:
    assert 1e-3 == learning_rate(replace(SETTINGS, warmup_steps=0), 1, 10, 1)


@pytest.mark.parametrize(
    ("step", "global_step", "expected"),
    [(0, 321, True), (80, 401, True), (29, 350, True), (1, 322, False), (79, 400, True), (78, 399, False)],
)
def test_the_holdout_is_measured_before_the_first_step_at_multiples_and_at_the_end(
    step: int, global_step: int, expected: bool
) -> None:
    assert expected is is_evaluation_due(SETTINGS, step, 80, global_step)


@pytest.mark.parametrize("rows", [60, 800, 3_000, 12_000])
def test_validation_costs_a_twentieth_of_a_run_at_most_at_the_default_settings(rows: int) -> None:
    settings, generator = Settings(), np.random.default_rng(rows)
    lengths = np.clip(generator.lognormal(np.log(110), 0.93, rows), 4, 1024).astype(np.int64)
    hashes = generator.integers(0, 256, (rows, 32), dtype=np.uint8)
    layout = lay_out(hashes, lengths, settings, sha256="ab" * 32)
    last = layout.plan.steps_planned
    times = sum(is_evaluation_due(settings, step, last, 1000 + step) for step in range(last + 1))
    # a forward pass is a third of forward and backward
    measured = times * int(lengths[layout.holdout_rows].sum()) / 3

    assert times >= 2
    assert 0 < measured <= 0.05 * int(lengths[layout.plan.rows].sum())


def test_a_save_is_due_when_the_global_step_is_a_multiple() -> None:
    assert [200, 400] == [step for step in range(1, 500) if is_save_due(SETTINGS, step)]


def request(seq: int, kind: str, run: str | None = None) -> Request:
    return Request(seq, "cli", f"{kind}Requested", run=run)


@pytest.mark.parametrize(
    ("pending", "expected"),
    [
        ((), None),
        ((request(1, "Pause"),), 1),
        ((request(1, "Stop"), request(2, "Pause")), 1),
        ((request(1, "Pause"), request(2, "Resume")), None),
        ((request(1, "Pause"), request(2, "Resume"), request(3, "Pause")), 3),
        ((request(1, "Skip", "r1"),), 1),
        ((request(1, "Skip", "r0"),), None),
        ((request(1, "Skip", "r0"), request(2, "Stop")), 2),
        ((request(1, "Move"), request(2, "Retry")), None),
    ],
)
def test_the_trainer_answers_what_is_meant_for_its_run(
    pending: tuple[Request, ...], expected: int | None
) -> None:
    found = asked(Control(pending=pending), "r1")

    assert expected == (found.seq if found is not None else None)
