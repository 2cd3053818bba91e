"""Steps done twice: what counts as a fault of the machine, and what is only rounding."""

import math

import pytest

from core.decide.redone import LOSS_APART, alarm, is_wrong

HALF, TWICE = LOSS_APART / 2, 2 * LOSS_APART


@pytest.mark.parametrize(
    ("what", "now", "alike", "exact", "expected"),
    [
        ("loss", 1 + 2**-52, True, True, True),
        ("grad_norm", 1 + 2**-52, True, True, True),
        ("loss", 1 + 2**-52, False, True, False),
        ("loss", 1 + HALF, True, False, False),
        ("loss", 1 + TWICE, True, False, True),
        ("loss", math.nan, True, False, True),
        ("loss", None, True, False, True),
        ("loss", 1 + TWICE, False, False, False),
        ("grad_norm", 1 + TWICE, True, False, False),
        ("rows", 2, False, False, True),
        ("row_digest", 2, False, True, True),
        ("trained_tokens", 2, True, False, True),
    ],
)
def test_bits_count_on_the_same_cpu_rows_everywhere_and_rounding_nowhere(
    what: str, now: float | None, alike: bool, exact: bool, expected: bool
) -> None:
    assert expected is is_wrong(what, 1.0, now, alike=alike, exact=exact)


def test_the_alert_names_step_values_and_remedy() -> None:
    alert = alarm("a.jsonl", 7, "loss", 1.5, 1.25)

    assert "step 7 of a.jsonl" in alert.detail
    assert "loss 1.5, now 1.25" in alert.detail
    assert "evertrain verify --deep" in alert.detail
