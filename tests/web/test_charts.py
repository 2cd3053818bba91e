"""The charts: no spike is lost, gaps stay gaps, and the axes hold every point."""

import math
import re
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.web.story import Story
from web.charts import HEIGHT, WIDTH, Mark, Point, coarse, draw, nice
from web.columns import COLUMNS, Column
from web.trail import Trail

NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)


def column(step: int, *values: float) -> Column:
    made = Column(step, step)
    for value in values:
        made.add(Column(step, step, 1, 0, value, value, value))
    return made


def places(path: str) -> list[tuple[int, int]]:
    """The corners of a path of relative moves."""
    found: list[tuple[int, int]] = []
    for x, y, moves in re.findall(r"M(-?\d+) (-?\d+)(?:l([-+\d ]*))?", path):
        found.append((int(x), int(y)))
        for dx, dy in re.findall(r"(-?\d+)([-+]\d+)", moves):
            found.append((found[-1][0] + int(dx), found[-1][1] + int(dy)))
    return found


@given(low=NUMBERS, high=NUMBERS, parts=st.integers(1, 8))
def test_ticks_are_even_and_hold_the_range(low: float, high: float, parts: int) -> None:
    low, high = min(low, high), max(low, high)
    ticks = nice(low, high, parts)
    gaps = [b - a for a, b in pairwise(ticks)]

    assert ticks[0] <= low + 1e-9 * abs(low) and high - 1e-9 * abs(high) <= ticks[-1]
    assert all(math.isclose(gap, gaps[0], rel_tol=1e-6) and gap > 0 for gap in gaps)
    assert len(ticks) <= 2 * parts + 3


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=60))
def test_every_point_is_inside_the_drawing(values: list[float]) -> None:
    chart = draw([column(n, value) for n, value in enumerate(values)], name="x")
    assert chart is not None

    assert len(values) == len(places(chart.line))
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places(chart.line))


def test_a_column_of_nothing_but_nan_is_a_gap() -> None:
    lost = Column(2, 2, 0, 1)
    chart = draw([column(1, 5.0), column(1, 5.0), lost, column(3, 4.0)], name="Loss")
    assert chart is not None

    assert 2 == chart.line.count("M")
    assert "not finite: 1 value" in chart.summary


def test_nothing_known_draws_nothing() -> None:
    assert draw([], name="x") is None
    assert draw([Column(1, 1, 0, 1)], [Point(1, math.nan)], name="x") is None


def test_validation_alone_is_a_chart_as_well() -> None:
    chart = draw([], [Point(0, 6.2)], name="Training loss")
    assert chart is not None

    assert "validation 6.200" in chart.summary
    assert "" == chart.line and chart.dots


def test_marks_outside_of_the_range_are_left_out() -> None:
    marks = [Mark("checkpoint", 2, "here"), Mark("crash", 99, "elsewhere")]
    chart = draw([column(1, 1.0), column(3, 2.0)], marks=marks, name="x")
    assert chart is not None

    assert [("checkpoint", WIDTH // 2)] == [(mark.kind, mark.x) for mark in chart.marks]


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=200), st.integers(1, 50))
def test_fewer_columns_keep_both_extremes_and_the_mean(values: list[float], most: int) -> None:
    merged = coarse([column(n, value) for n, value in enumerate(values)], most)

    assert len(merged) <= most
    assert (min(values), max(values)) == (min(c.low for c in merged), max(c.high for c in merged))
    assert math.isclose(sum(values), sum(c.total for c in merged), abs_tol=1e-6)


def test_the_table_covers_all_steps_in_few_rows() -> None:
    chart = draw([column(n, float(n)) for n in range(1, 101)], name="x")
    assert chart is not None

    assert len(chart.rows) <= 16
    assert chart.rows[0][0].startswith("1 –") and chart.rows[-1][0].endswith("100")


def test_a_trail_followed_step_by_step_equals_one_read_at_the_end(story: Story) -> None:
    story.waits("a.jsonl")
    story.starts("a.jsonl", planned=2000)
    following = Trail(story.log, "r1")
    for first in range(1, 1001, 7):
        story.steps(first, 7)
        following.catch_up()
    once = Trail(story.log, "r1")
    once.catch_up()

    def columns(trail: Trail) -> list[Any]:  # sums depend on how the steps came, in their last bit
        return [(c.first_step, c.last_step, c.n, c.low, c.high) for c in trail.columns("loss")]

    assert columns(following) == columns(once)
    assert [c.total for c in following.columns("loss")] == pytest.approx(
        [c.total for c in once.columns("loss")], rel=1e-14
    )
    assert len(once.columns("loss")) <= COLUMNS
    assert once.width > 1


def test_a_trail_begun_from_roll_ups_keeps_every_spike_and_goes_on(story: Story) -> None:
    story.waits("a.jsonl")
    story.starts("a.jsonl", planned=30_000)
    for first in range(1, 9001, 300):
        story.steps(first, 300, loss=3.0)
    story.steps(9001, 1, loss=77.0)
    story.steps(9002, 500, loss=2.0)
    trail = Trail(story.log, "r1")
    trail.catch_up()
    story.steps(9502, 100, loss=1.0)
    trail.catch_up()
    columns = trail.columns("loss")

    assert trail.width >= 64 and len(columns) <= COLUMNS
    assert 9601 == sum(c.n for c in columns)
    assert (1.0, 77.0) == (min(c.low for c in columns), max(c.high for c in columns))
    assert math.isclose(9000 * 3 + 77 + 500 * 2 + 100, sum(c.total for c in columns))


def test_a_trail_of_the_whole_history_holds_every_run(story: Story) -> None:
    story.trained("a.jsonl", "v0001", "r1", 100)
    story.trained("b.jsonl", "v0002", "r2", 50, 100)
    trail = Trail(story.log)
    trail.catch_up()

    assert (1, 150) == (trail.first_step, trail.last_step)
