"""Halved micro-batches: the same rows in the same order, cut near the middle, alike after every restart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.decide.halving import MOST, halved, in_force


@given(st.lists(st.integers(1, 500), min_size=1, max_size=60), st.integers(1, 6), st.integers(0, MOST))
def test_every_row_stays_whole_and_in_its_place(sizes: list[int], parts: int, times: int) -> None:
    lengths = np.array(sizes, dtype=np.int64)
    step = tuple(np.array_split(np.arange(len(sizes)), min(parts, len(sizes))))
    cut = halved(step, lengths, times)

    assert list(range(len(sizes))) == np.concatenate(cut).tolist()
    assert all(len(rows) for rows in cut)
    assert len(step) <= len(cut) <= len(step) * 2**times


@given(st.lists(st.integers(1, 500), min_size=2, max_size=60))
def test_no_other_cut_is_nearer_to_the_middle(sizes: list[int]) -> None:
    lengths = np.array(sizes, dtype=np.int64)
    first, second = halved((np.arange(len(sizes)),), lengths, 1)
    larger = [max(sum(sizes[:n]), sum(sizes[n:])) for n in range(1, len(sizes))]

    assert min(larger) == max(lengths[first].sum(), lengths[second].sum())


def test_a_row_alone_is_not_cut() -> None:
    (only,) = halved((np.array([3]),), np.array([9, 9, 9, 9]), MOST)

    assert [3] == only.tolist()


@pytest.mark.parametrize(("step", "expected"), [(1, 0), (5, 0), (6, 1), (8, 2), (9, 2), (40, 2)])
def test_a_halving_holds_for_its_step_and_every_later_one(step: int, expected: int) -> None:
    assert expected == in_force({8: 2, 6: 1, 9: 1}, step)
    assert 0 == in_force({}, step)
