"""The trail: the columns of a curve, and what was done again beside it."""

from typing import Any

from tests.web.shelves import Shelves
from tests.web.story import Story
from web.columns import COLUMNS
from web.trail import Trail


def test_a_trail_keeps_what_was_done_again_apart(story: Story) -> None:
    story.waits("a.jsonl")
    story.starts("a.jsonl")
    story.steps(1, 30, loss=5.0)
    story.steps(21, 20, loss=1.0, attempt=2)
    trail = Trail(story.log, "r1")
    trail.catch_up()
    (earlier,) = trail.earlier("loss")

    assert [5.0] * 20 + [1.0] * 20 == [column.mean for column in trail.columns("loss")]
    assert [(step, 5.0) for step in range(21, 31)] == [(c.first_step, c.mean) for c in earlier]


def test_branches_after_a_restore_are_not_averaged(story: Story) -> None:
    for name, run, at, loss in (("a", "r1", 0, 3.0), ("b", "r2", 10, 2.0), ("c", "r3", 10, 1.0)):
        story.waits(name)
        story.starts(name, run, 10, at)
        story.steps(1, 10, run, at, loss)
        story.completes(name, None, run, 10, at)
    trail = Trail(story.log)
    trail.catch_up()

    assert [3.0] * 10 + [1.0] * 10 == [column.mean for column in trail.columns("loss")]
    assert [[2.0] * 10] == [[column.mean for column in each] for each in trail.earlier("loss")]


def test_a_long_history_read_from_roll_ups_keeps_them_apart_as_well(tmp_path: Any) -> None:
    story = Shelves(tmp_path)
    story.waits("a.jsonl")
    story.starts("a.jsonl", planned=20_000)
    for first in range(1, 10_001, 1000):
        story.steps(first, 1000, loss=5.0)
    story.goes_on("r1", 2, 8_000)
    for first in range(8_001, 12_001, 1000):
        story.steps(first, 1000, loss=1.0, attempt=2)
    trail = Trail(story.log, "r1")
    trail.catch_up()
    (earlier,) = trail.earlier("loss")
    border = [c for c in trail.columns("loss") if c.low != c.high]
    story.log.close()

    assert trail.width > 1 and len(trail.columns("loss")) <= COLUMNS
    assert 14_000 == sum(c.n for c in (*trail.columns("loss"), *earlier))
    assert {5.0} == {c.mean for c in earlier} and len(border) <= 1
