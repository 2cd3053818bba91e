"""The figures of a step: few digits, and still the very float32 that was measured."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.train.trainer import shortest


@given(st.one_of(st.floats(0, 2**20, width=32), st.sampled_from([math.nan, math.inf, -math.inf])))
def test_few_digits_are_the_same_float32(value: float) -> None:
    told = shortest(value)

    assert math.isnan(value) == math.isnan(told)
    assert np.float32(value).tobytes() == np.float32(told).tobytes() or math.isnan(value)
    assert len(repr(told)) <= 16


def test_a_loss_has_half_the_digits_that_its_double_has() -> None:
    measured = float(np.float32(2.3456789))

    assert 18 <= len(repr(measured)) and 10 > len(repr(shortest(measured)))
