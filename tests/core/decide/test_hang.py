"""The limits: floors until the log knows better, never below what has been, doubled after a hang."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.decide.hang import ENOUGH, FLOORS, LEARNED, LEAST, hangs, limit, limits
from events.types import ProcessCrashed
from tests.projections.story import Tale

SECONDS = st.floats(0, 1e5)


def test_the_first_limits_are_the_floors() -> None:
    assert FLOORS == limits({})
    assert {"step": 900, "eval": 1800, "save": 1800, "load": 600} == {
        phase: FLOORS[phase] for phase in ("step", "eval", "save", "load")
    }


@pytest.mark.parametrize("phase", FLOORS)
@given(turns=st.lists(SECONDS, max_size=3 * ENOUGH))
def test_no_limit_is_below_twice_what_has_been_nor_below_its_least(phase: str, turns: list[float]) -> None:
    learned = phase in LEARNED and len(turns) >= ENOUGH

    found = limits({phase: turns})[phase]

    assert found >= 2 * max(turns, default=0.0)
    assert found >= FLOORS[phase] * (LEAST if learned else 1)


@pytest.mark.parametrize("phase", LEARNED)
@given(usual=st.floats(0.001, 1e4), slower=st.floats(1, 10))
def test_ten_times_slower_than_usual_is_no_hang(phase: str, usual: float, slower: float) -> None:
    for count in (1, ENOUGH, 10 * ENOUGH):
        assert usual * slower < limits({phase: [usual] * count})[phase]


@given(usual=st.floats(0.001, 4.0))
def test_once_the_log_knows_better_a_hang_is_found_sooner(usual: float) -> None:
    assert limits({"step": [usual] * ENOUGH})["step"] < limits({"step": [usual] * (ENOUGH - 1)})["step"]


def test_a_rare_long_turn_does_not_make_blind() -> None:
    turns = [1.0] * 999 + [300.0]

    assert 600 == limits({"step": turns})["step"]


def test_a_run_that_was_ended_for_standing_still_gets_twice_the_time() -> None:
    tale = Tale()
    tale.queues("a")
    tale.starts("a", "r1")
    seen = []
    for category in ("timeout", "timeout", "segfault", "timeout"):
        seen.append(limit(FLOORS, "step", hangs(tale.state)))
        tale.tell(
            ProcessCrashed(
                role="trainer", pid=7, exit_code=None, signal="SIGKILL", error="", run="r1", step=0,
                category=category,
            )
        )  # fmt: skip

    assert [900, 1800, 3600, 3600] == seen


def test_a_phase_that_nobody_knows_gets_the_most_patience() -> None:
    assert max(FLOORS.values()) == limit(FLOORS, "polish")
