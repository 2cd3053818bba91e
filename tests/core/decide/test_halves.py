"""Halving a micro-batch: the same rows in the same order, in parts of like many tokens."""

import numpy as np
import pytest

from core.decide.batches import halves


def sizes(lengths: list[int], times: int) -> list[int]:
    """Tokens of each part."""
    stored = np.array(lengths, dtype=np.int64)
    return [int(stored[part].sum()) for part in halves(np.arange(len(lengths)), stored, times)]


@pytest.mark.parametrize("times", range(4))
def test_halving_keeps_every_row_in_its_order(times: int) -> None:
    lengths = np.random.default_rng(3).integers(2, 300, 40)
    rows = np.random.default_rng(4).permutation(40)[:23]
    parts = halves(rows, lengths, times)

    assert 2**times == len(parts)
    assert rows.tolist() == np.concatenate(parts).tolist()


def test_no_part_is_larger_than_half_and_a_row() -> None:
    lengths = np.random.default_rng(5).integers(2, 300, 60).tolist()
    whole, longest = sum(lengths), max(lengths)

    for times in (1, 2, 3):
        assert max(sizes(lengths, times)) <= whole / 2**times + longest


def test_a_cut_is_where_the_larger_part_is_smallest() -> None:
    assert [7, 6] == sizes([1, 2, 4, 6], 1)
    assert [100, 3] == sizes([100, 1, 1, 1], 1)


def test_a_single_row_stays_whole() -> None:
    assert [9] == sizes([9], 3)
    assert [100, 1, 2] == sizes([100, 1, 2], 2)
    assert [] == [part for part in sizes([5, 5, 5], 9) if not part]
