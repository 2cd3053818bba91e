"""The health: crashes in a row, alerts that stay until they are cleared, drifts."""

from events.types import (
    AlertCleared,
    AlertRaised,
    DriftFound,
    JobFailed,
    ProcessCrashed,
    ProcessExited,
    ProcessStarted,
    Recorded,
    TrainingFailed,
)
from projections.health import CRASHES_KEPT, DRIFTS_KEPT, EMPTY, HEALTHY_US, Health, apply
from tests.facts import recorded, specimen


def fold(*facts: object) -> Health:
    state = EMPTY
    for fact in recorded(list(facts)):  # type: ignore[arg-type]
        state = apply(state, fact)
    return state


def crash(role: str = "trainer") -> ProcessCrashed:
    return ProcessCrashed(role=role, pid=7, exit_code=1, signal=None, error="ValueError at x.py:1")


def start(role: str = "trainer") -> ProcessStarted:
    return ProcessStarted(role=role, pid=7)


def test_crashes_in_a_row_are_counted_per_role() -> None:
    state = fold(start(), crash(), start(), crash(), start("daemon"), crash("daemon"))

    assert (2, 1) == (state.processes["trainer"].crashes, state.processes["daemon"].crashes)


def test_a_clean_end_or_a_file_given_up_starts_the_count_anew() -> None:
    ended = fold(start(), crash(), start(), ProcessExited(role="trainer", pid=7, exit_code=0))
    given_up = fold(start(), crash(), start(), crash(), specimen(TrainingFailed))

    assert 0 == ended.processes["trainer"].crashes
    assert 0 == given_up.processes["trainer"].crashes


def test_a_long_healthy_life_starts_the_count_anew() -> None:
    state = fold(start(), crash(), start(), crash(), start())
    at = state.processes["trainer"].started_at
    soon = apply(state, Recorded(6, at + HEALTHY_US - 1, "watchdog", crash()))
    late = apply(state, Recorded(6, at + HEALTHY_US, "watchdog", crash()))

    assert (3, 1) == (soon.processes["trainer"].crashes, late.processes["trainer"].crashes)


def test_an_alert_stays_until_it_is_cleared_and_a_failing_job_is_one() -> None:
    raised = AlertRaised(severity="warning", type="port", detail="taken")
    state = fold(raised, JobFailed(job="poll", error="OSError", where="poll.py:9"))
    clears = [AlertCleared(type=kind) for kind in ("port", "job:poll", "never")]
    cleared = fold(raised, JobFailed(job="poll", error="OSError", where="poll.py:9"), *clears)

    assert {"port", "job:poll"} == set(state.alerts)
    assert "serious" == state.alerts["job:poll"].severity
    assert {} == dict(cleared.alerts)


def test_only_a_fatal_alert_stops_everything() -> None:
    assert fold(AlertRaised(severity="serious", type="disk", detail="low")).fatal is None
    fatal = fold(AlertRaised(severity="fatal", type="disk", detail="gone")).fatal
    assert fatal is not None
    assert "gone" == fatal.detail


def test_what_is_remembered_has_an_end() -> None:
    crashes = [crash() for _ in range(CRASHES_KEPT + 9)]
    state = fold(*crashes, *(specimen(DriftFound, path=f"{n}") for n in range(DRIFTS_KEPT + 9)))

    assert (CRASHES_KEPT, DRIFTS_KEPT) == (len(state.crashes), len(state.drifts))
    assert CRASHES_KEPT + 9 == state.crashes[-1].seq
