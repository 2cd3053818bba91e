"""Batches: every row once an epoch, in windows that hold it, in the order of (seed, file, epoch)."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from core.decide.batches import (
    Plan,
    cut,
    digests,
    distinct,
    holdout,
    largest,
    lay_out,
    mix,
    order,
    pack,
    plan,
    seed_of,
    shared,
)
from core.settings import Settings

SHA = "ab" * 32


def lengths_of(count: int, longest: int = 200) -> NDArray[np.int64]:
    """Many short rows and some long ones."""
    drawn = np.random.default_rng(7).lognormal(3.5, 0.8, count)
    return np.clip(drawn, 2, longest).astype(np.int64)


def hashes_of(*contents: int) -> NDArray[np.uint8]:
    raw = b"".join(hashlib.sha256(str(content).encode()).digest() for content in contents)
    return np.frombuffer(raw, dtype=np.uint8).reshape(-1, 32)


def planned(lengths: NDArray[np.int64], **changes: int) -> Plan:
    arguments = {"seed": 1, "epochs": 1, "batch_size": 2, "accumulation": 3, "max_length": 200} | changes
    return plan(lengths, np.arange(len(lengths)), sha256=SHA, **arguments)


def test_the_mix_is_the_published_splitmix64() -> None:
    # the first output of the reference implementation from state 0
    assert [0xE220A8397B1DCDAF] == mix(np.zeros(1, dtype=np.uint64)).tolist()


def test_every_part_of_a_seed_and_their_order_count() -> None:
    seeds = [seed_of(), seed_of(0), seed_of(1), seed_of(1, 0), seed_of(0, 1), seed_of(-1)]

    assert len(seeds) == len(set(seeds))


@given(
    st.lists(st.integers(1, 64), min_size=1, max_size=400),
    st.integers(1, 3), st.integers(1, 3), st.integers(1, 4),
)  # fmt: skip
def test_every_row_is_trained_once_an_epoch_in_windows_that_hold_it(
    drawn: list[int], epochs: int, batch_size: int, accumulation: int
) -> None:
    lengths = np.array(drawn, dtype=np.int64)
    made = planned(lengths, epochs=epochs, batch_size=batch_size, accumulation=accumulation, max_length=64)
    steps = list(made.steps(1))

    trained = np.concatenate([part for step in steps for part in step])
    assert sorted(list(range(len(drawn))) * epochs) == sorted(trained.tolist())
    assert len(steps) == made.steps_planned > 0
    assert all(1 <= len(step) <= accumulation for step in steps)
    assert all(lengths[part].sum() <= batch_size * 64 for step in steps for part in step)


def test_a_window_never_holds_more_than_its_capacity() -> None:
    lengths = lengths_of(500)
    windows = pack(np.arange(500), lengths, 200)

    assert max(lengths[window].sum() for window in windows) <= 200
    assert list(range(500)) == sorted(row for window in windows for row in window)


def test_packing_wastes_at_most_two_in_a_hundred() -> None:
    lengths = lengths_of(20_000)
    windows = pack(order(np.arange(20_000), sha256=SHA, seed=1, epoch=0), lengths, 1024)

    assert lengths.sum() / (1024 * len(windows)) >= 0.98


def test_a_row_longer_than_a_window_is_refused() -> None:
    with pytest.raises(ValueError, match="validate the file again"):
        pack(np.arange(2), np.array([5, 9]), 8)


def test_the_oldest_row_always_opens_a_window() -> None:
    lengths = lengths_of(2000)
    windows = pack(np.arange(2000), lengths, 200)

    # so no row waits for ever: each window opens with the first row that is not yet taken
    taken: set[int] = set()
    for window in windows:
        assert window[0] == next(row for row in range(2000) if row not in taken)
        taken.update(window)


def test_the_same_file_and_settings_give_the_same_plan() -> None:
    lengths = lengths_of(300)

    assert planned(lengths).sha256 == planned(lengths).sha256
    assert planned(lengths).rows.tolist() == planned(lengths).rows.tolist()


@pytest.mark.parametrize("key", ["seed", "epochs", "batch_size", "accumulation", "max_length"])
def test_whatever_changes_the_plan_changes_its_hash(key: str) -> None:
    lengths = lengths_of(300)
    other = {"seed": 2, "epochs": 2, "batch_size": 1, "accumulation": 2, "max_length": 300}[key]

    assert planned(lengths).sha256 != planned(lengths, **{key: other}).sha256


def test_the_order_follows_seed_file_and_epoch() -> None:
    rows = np.arange(100)
    orders = {
        tuple(order(rows, sha256=sha256, seed=seed, epoch=epoch).tolist())
        for sha256 in (SHA, "cd" * 32)
        for seed in (1, 2)
        for epoch in (0, 1)
    }

    assert 8 == len(orders)


def test_leaving_out_a_row_keeps_the_order_of_the_others() -> None:
    rows = np.arange(100)
    whole = order(rows, sha256=SHA, seed=1, epoch=0).tolist()
    without = order(rows[rows != 17], sha256=SHA, seed=1, epoch=0).tolist()

    assert [row for row in whole if row != 17] == without


def test_to_go_on_is_to_count() -> None:
    made = planned(lengths_of(400), epochs=2)
    whole = [[part.tolist() for part in step] for step in made.steps(1)]

    for first in (1, 2, made.steps_planned // 2, made.steps_planned):
        assert whole[first - 1 :] == [[part.tolist() for part in step] for step in made.steps(first)]
    assert [] == list(made.steps(made.steps_planned + 1))


def test_the_last_step_of_an_epoch_may_be_short_and_takes_no_row_of_the_next() -> None:
    lengths = np.full(7, 10, dtype=np.int64)
    made = planned(lengths, epochs=2, batch_size=1, accumulation=3, max_length=10)

    assert [3, 3, 1, 3, 3, 1] == [len(step) for step in made.steps(1)]


def test_a_file_without_rows_has_no_steps() -> None:
    assert 0 == planned(np.zeros(0, dtype=np.int64)).steps_planned


def test_the_holdout_is_a_function_of_the_row_hash_alone() -> None:
    hashes = hashes_of(*range(100))
    shuffled = np.random.default_rng(3).permutation(100)
    chosen = {bytes(row) for row in hashes[holdout(hashes, 0.1, 100)]}

    assert 10 == len(chosen)
    assert chosen == {bytes(row) for row in hashes[shuffled][holdout(hashes[shuffled], 0.1, 100)]}
    assert chosen == set(sorted(bytes(row) for row in hashes)[:10])


@pytest.mark.parametrize(
    ("rows", "fraction", "most", "expected"),
    [(100, 0.05, 100, 5), (100, 0.5, 3, 3), (19, 0.05, 100, 0),
     (100, 0.0, 100, 0), (100, 0.5, 0, 0), (0, 0.5, 9, 0)],
)  # fmt: skip
def test_the_holdout_is_the_smaller_of_share_and_maximum(
    rows: int, fraction: float, most: int, expected: int
) -> None:
    assert expected == holdout(hashes_of(*range(rows)), fraction, most).sum()


def test_copies_of_a_held_out_row_are_never_trained_and_measured_once() -> None:
    hashes = hashes_of(*(list(range(50)) * 2))
    held = holdout(hashes, 0.1, 100)
    measured = distinct(hashes, held)

    assert 10 == held.sum()
    assert 5 == len(measured)
    assert not {bytes(row) for row in hashes[held]} & {bytes(row) for row in hashes[~held]}
    assert {bytes(row) for row in hashes[held]} == {bytes(row) for row in hashes[measured]}


def test_a_file_of_copies_is_trained_all_the_same() -> None:
    assert 0 == holdout(hashes_of(*[1] * 100), 0.1, 100).sum()


def test_the_digest_tells_which_rows_in_any_order() -> None:
    hashes = hashes_of(*range(20))
    forward, backward = digests(hashes, np.arange(10)), digests(hashes, np.arange(10)[::-1])
    by_hand = sum(int.from_bytes(bytes(row[:6]), "big") for row in hashes[:10]) % 2**48

    assert by_hand == forward == backward
    assert forward != digests(hashes, np.arange(11))
    assert 0 == digests(hashes, np.arange(0))


def test_a_layout_trains_what_it_does_not_hold_out() -> None:
    settings = replace(Settings(), validation_fraction=0.1, max_length=200)
    hashes, lengths = hashes_of(*range(200)), lengths_of(200)
    made = lay_out(hashes, lengths, settings, sha256=SHA)

    assert 20 == len(made.holdout_rows)
    assert sorted([*made.train_rows, *made.holdout_rows]) == list(range(200))
    assert sorted(made.plan.rows) == made.train_rows.tolist()


def test_rows_of_the_fixed_set_are_neither_trained_nor_held_out() -> None:
    settings = replace(Settings(), validation_fraction=0.1, max_length=200)
    hashes, lengths = hashes_of(*range(150), *range(0, 50, 2)), lengths_of(175)
    fixed = hashes_of(*range(0, 60, 2), *range(900, 950))
    made = lay_out(hashes, lengths, settings, sha256=SHA, fixed=fixed)
    left = {*made.train_rows.tolist(), *made.holdout_rows.tolist()}
    never = {bytes(row) for row in fixed}

    assert 30 + 25 == made.excluded_rows
    assert int(0.1 * (175 - made.excluded_rows)) == len(made.holdout_rows)
    assert not any(bytes(hashes[row]) in never for row in left)
    assert 175 == made.excluded_rows + len(made.train_rows) + len(made.holdout_rows)


def test_a_fixed_set_without_a_row_of_the_file_leaves_the_plan_as_it_is() -> None:
    settings, hashes, lengths = replace(Settings(), max_length=200), hashes_of(*range(90)), lengths_of(90)
    plain = lay_out(hashes, lengths, settings, sha256=SHA)
    made = lay_out(hashes, lengths, settings, sha256=SHA, fixed=hashes_of(*range(500, 520)))
    other = lay_out(hashes, lengths, settings, sha256=SHA, fixed=hashes_of(3))

    assert (0, 1) == (made.excluded_rows, other.excluded_rows)
    assert plain.plan.sha256 == made.plan.sha256 != other.plan.sha256
    assert plain.holdout_rows.tolist() == made.holdout_rows.tolist()


def test_all_of_a_hash_decides_whether_two_rows_are_the_same() -> None:
    hashes = hashes_of(1, 2, 3)
    near = hashes.copy()
    near[:, 8:] ^= 1

    assert [False] * 3 == shared(hashes, near).tolist()
    assert [False, True, False] == shared(hashes, np.concatenate([near, hashes[1:2]])).tolist()
    assert [] == shared(hashes[:0], hashes).tolist()


@pytest.mark.parametrize(
    ("key", "value"),
    [("batch_size", 2), ("gradient_accumulation", 2), ("max_length", 300), ("seed", 2), ("epochs", 2),
     ("validation_fraction", 0.2), ("validation_max_rows", 5)],
)  # fmt: skip
def test_a_setting_of_batches_changes_what_is_trained(key: str, value: float) -> None:
    settings, hashes, lengths = replace(Settings(), max_length=200), hashes_of(*range(200)), lengths_of(200)
    before = lay_out(hashes, lengths, settings, sha256=SHA)
    after = lay_out(hashes, lengths, replace(settings, **{key: value}), sha256=SHA)  # type: ignore[arg-type]

    assert before.plan.sha256 != after.plan.sha256
    assert (before.plan.steps_planned, before.plan.rows.tolist()) != (
        after.plan.steps_planned,
        after.plan.rows.tolist(),
    )


def test_a_plan_with_halved_micro_batches_has_the_same_steps() -> None:
    settings, hashes, lengths = replace(Settings(), max_length=200), hashes_of(*range(99)), lengths_of(99)
    whole = lay_out(hashes, lengths, settings, sha256=SHA)
    halved = whole.halved(lengths, 2)

    assert (whole.plan.sha256, whole.plan.steps_planned) == (halved.plan.sha256, halved.plan.steps_planned)
    for before, after in zip(whole.plan.steps(1), halved.plan.steps(1), strict=True):
        assert np.concatenate(before).tolist() == np.concatenate(after).tolist()
        assert len(before) < len(after)
        assert all(len(part) for part in after)
    assert (0, 2) == (whole.halvings, halved.halvings)
    assert cut(whole.plan, lengths, 0) is whole.plan


def test_the_largest_micro_batch_is_known_for_every_halving() -> None:
    settings, hashes, lengths = replace(Settings(), max_length=200), hashes_of(*range(99)), lengths_of(99)
    plan = lay_out(hashes, lengths, settings, sha256=SHA).plan
    found = [largest(plan, lengths, times) for times in range(4)]

    assert found[0] == max(int(lengths[micro].sum()) for step in plan.steps(1) for micro in step)
    assert found == sorted(found, reverse=True)
    assert int(lengths[plan.rows].max()) <= found[-1] < found[0]
