"""The curves: buckets of growing width say exactly what the single steps say, however they came."""

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db import rollups
from events.log import Log
from events.types import Recorded, StepsCompleted
from projections import curves

LOSSES = st.lists(
    st.one_of(st.floats(0, 100), st.sampled_from([math.nan, math.inf, -math.inf]), st.none()),
    min_size=1, max_size=300,
)  # fmt: skip


def steps(first: int, losses: list[float | None], run: str = "r", attempt: int = 1) -> Recorded:
    columns: dict[str, Any] = {"loss": losses}
    event = StepsCompleted(
        run=run, attempt=attempt, first_step=first, first_global_step=first, n=len(losses), columns=columns
    )
    return Recorded(first, 0, "trainer", event)


def cut(losses: list[float | None], sizes: list[int]) -> list[Recorded]:
    """The same steps in pieces of other sizes."""
    facts, at = [], 0
    for n in range(len(losses)):
        size = sizes[n % len(sizes)]
        if at < len(losses):
            facts.append(steps(1 + at, losses[at : at + size]))
            at += size
    return facts


def finite(losses: list[float | None]) -> list[float]:
    return [v for v in losses if v is not None and math.isfinite(v)]


@given(LOSSES, st.lists(st.integers(1, 90), min_size=1, max_size=5))
def test_buckets_do_not_depend_on_how_steps_were_grouped(
    losses: list[float | None], sizes: list[int]
) -> None:
    whole = [row for row in curves.partials([steps(1, losses)]) if row[0] == "loss" and row[1] == 0]
    pieces = [row for row in curves.partials(cut(losses, sizes)) if row[0] == "loss" and row[1] == 0]
    one, other = curves.buckets(whole), curves.buckets(pieces)

    assert [(b.first_step, b.n, b.nonfinite, b.min, b.max) for b in one] == [
        (b.first_step, b.n, b.nonfinite, b.min, b.max) for b in other
    ]
    assert all(
        a.mean == b.mean or math.isclose(a.mean or 0, b.mean or 0, abs_tol=1e-9)
        for a, b in zip(one, other, strict=True)
    )


@given(LOSSES)
def test_every_level_keeps_the_number_and_the_extremes_of_all_steps(losses: list[float | None]) -> None:
    rows = curves.partials([steps(1, losses)])
    known = finite(losses)
    for level in range(curves.LEVELS):
        found = curves.buckets(row for row in rows if row[0] == "loss" and row[1] == level)

        assert len(known) == sum(b.n for b in found)
        assert sum(v is not None for v in losses) - len(known) == sum(b.nonfinite for b in found)
        assert min(known, default=None) == min((b.min for b in found if b.min is not None), default=None)
        assert max(known, default=None) == max((b.max for b in found if b.max is not None), default=None)


def test_rows_kept_by_the_log_equal_those_counted_afterwards(tmp_path: Path) -> None:
    def keep(connection: Any, facts: Any) -> None:
        rollups.merge(connection, curves.partials(facts))

    log = Log(tmp_path / "log.sqlite", "trainer", inline=keep, create=True)
    losses: list[float | None] = [5.0, math.nan, None, *(100 / k for k in range(1, 250))]
    for recorded in cut(losses, [7, 1, 50]):
        log.append(recorded.event)
    once = curves.partials([steps(1, losses)])
    for level in range(curves.LEVELS):
        stored = curves.buckets(rollups.read(log.reader, "loss", level, 0, 10**9))
        counted = curves.buckets(row for row in once if row[0] == "loss" and row[1] == level)

        assert len(counted) == len(stored)
        for a, b in zip(counted, stored, strict=True):
            assert (a.first_step, a.last_step, a.n, a.nonfinite) == (
                b.first_step, b.last_step, b.n, b.nonfinite,
            )  # fmt: skip
            assert (a.min, a.max, a.last) == (b.min, b.max, b.last)
    log.close()


def test_one_run_can_be_read_alone(tmp_path: Path) -> None:
    log = Log(
        tmp_path / "log.sqlite", "trainer", create=True,
        inline=lambda connection, facts: rollups.merge(connection, curves.partials(facts)),
    )  # fmt: skip
    log.append(steps(1, [1.0] * 10, "a").event)
    log.append(steps(11, [9.0] * 10, "b").event)
    both = curves.buckets(rollups.read(log.reader, "loss", 0, 0, 9))
    alone = curves.buckets(rollups.read(log.reader, "loss", 0, 0, 9, "b"))

    assert [(20, 1.0, 9.0)] == [(b.n, b.min, b.max) for b in both]
    assert [(10, 9.0, 9.0)] == [(b.n, b.min, b.max) for b in alone]
    log.close()


@pytest.mark.parametrize("span", [1, 400, 401, 25_600, 25_601, 10_000_000])
def test_the_level_chosen_is_the_finest_that_fits(span: int) -> None:
    level = curves.level_for(1, span, 400)

    if level is None:
        assert span <= 400
    else:
        assert span / curves.width(level) <= 400
        assert level == 0 or span / curves.width(level - 1) > 400


def test_a_step_done_again_counts_once_as_the_newest_attempt_has_it() -> None:
    facts = [steps(1, [5.0, 4.0, 3.0]), steps(2, [4.5, 3.5], attempt=2)]

    assert [(1, 5.0), (2, 4.5), (3, 3.5)] == [(b.first_step, b.last) for b in curves.points(facts, "loss")]


def test_a_single_step_that_is_not_finite_stays_visible() -> None:
    found = curves.points([steps(1, [math.nan, None, 2.0])], "loss")

    assert [(1, 0, 1, None), (3, 1, 0, 2.0)] == [(b.first_step, b.n, b.nonfinite, b.last) for b in found]


def test_tokens_per_second_are_made_of_two_columns() -> None:
    columns: dict[str, Any] = {"tokens": [100, 100, None], "seconds": [0.5, 0.0, 1.0]}
    event = StepsCompleted(run="r", attempt=1, first_step=1, first_global_step=1, n=3, columns=columns)

    assert [200.0, None, None] == curves.values(event, "tokens_per_sec")
    assert [None, None, None] == curves.values(event, "loss")
