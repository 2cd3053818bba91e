"""Drifts: told once, open while they last, cleared when gone; an alert as long as any is open."""

import pytest

from core.decide.drift import Finding, compare
from events.types import (
    AlertCleared,
    AlertRaised,
    CheckpointDeleted,
    CheckpointQuarantined,
    CheckpointRetired,
    DriftCleared,
    DriftFound,
    Event,
)
from projections.health import DRIFTS_KEPT
from tests.projections.story import Tale

BASE = Finding("base_model", "models/tiny", "its files are others", "put them back")
STRANGER = Finding("file_unknown", "queue/low/x", "the log does not know this file", "delete it")


def tale() -> Tale:
    """A workspace with a version, a resume point and nothing wrong."""
    told = Tale()
    told.begins()
    told.queues("a")
    told.starts("a", "r1")
    told.saves("r1", 7)
    told.publishes("v0001", "a", "r1")
    return told


def look(told: Tale, *found: Finding, seen: int | None = None) -> list[Event]:
    """One look at the disk, and what it leads to, told."""
    facts = compare(told.state, found, len(told.facts) if seen is None else seen)
    told.tell(*facts)
    return facts


def only(facts: list[Event], *kinds: type[Event]) -> list[Event]:
    return [fact for fact in facts if isinstance(fact, kinds)]


def test_nothing_found_is_nothing_said() -> None:
    assert [] == look(tale())


def test_a_difference_is_told_once_and_cleared_once() -> None:
    told = tale()
    first, second = look(told, STRANGER), look(told, STRANGER)
    gone, after = look(told), look(told)

    assert [DriftFound(**STRANGER._asdict())] == only(first, DriftFound)
    assert [] == second == after
    assert [DriftCleared(kind=STRANGER.kind, path=STRANGER.path), AlertCleared(type="drift")] == gone
    assert () == told.state.health.drifts


def test_the_alert_lasts_as_long_as_any_drift_and_says_the_worst_with_its_remedy() -> None:
    told = tale()
    look(told, STRANGER)
    mild = told.state.health.alerts["drift"]
    look(told, STRANGER, BASE)
    bad = told.state.health.alerts["drift"]
    look(told, STRANGER)
    milder = told.state.health.alerts["drift"]

    assert ("warning", "serious", "warning") == (mild.severity, bad.severity, milder.severity)
    assert BASE.path in bad.detail and BASE.remedy in bad.detail and "1 more" in bad.detail
    assert mild.detail == milder.detail


@pytest.mark.parametrize(("path", "severity"), [("v0001", "serious"), ("v0002", "warning")])
def test_only_damage_of_the_current_version_is_serious(path: str, severity: str) -> None:
    told = tale()
    (raised,) = only(
        look(told, Finding("version", f"models/versions/{path}", "bytes", "restore")), AlertRaised
    )

    assert isinstance(raised, AlertRaised)
    assert severity == raised.severity


def test_what_was_told_after_the_look_is_not_cleared_by_it() -> None:
    told = tale()
    seen = len(told.facts)
    told.tell(DriftFound(**STRANGER._asdict()))

    assert [] == only(look(told, seen=seen), DriftCleared)
    assert 1 == len(only(look(told), DriftCleared))


def test_a_damaged_resume_point_is_set_aside_and_stays_told_until_it_is_deleted() -> None:
    told = tale()
    (point,) = told.state.storage.usable
    found = look(told, Finding("checkpoint", point.path, "bytes", "none needed"))
    quiet = look(told)
    told.tell(CheckpointRetired(path=point.path, reason="beyond"), CheckpointDeleted(path=point.path))
    gone = look(told)

    assert [CheckpointQuarantined(path=point.path, problems=("bytes",))] == only(found, CheckpointQuarantined)
    assert [] == quiet
    assert DriftCleared(kind="checkpoint", path=point.path) in gone


def test_a_missing_resume_point_is_not_set_aside() -> None:
    told = tale()
    (point,) = told.state.storage.usable
    found = look(told, Finding("checkpoint_missing", point.path, "gone", "none needed"))

    assert [] == only(found, CheckpointQuarantined)
    assert (point,) == told.state.storage.usable


def test_more_than_the_fold_keeps_are_told_as_the_first_ones_go() -> None:
    told = tale()
    many = [
        Finding("file_unknown", f"queue/low/{n:04d}", "unknown", "delete it") for n in range(DRIFTS_KEPT + 20)
    ]
    first, again = look(told, *many), look(told, *many)
    rest = look(told, *many[20:])

    assert DRIFTS_KEPT == len(only(first, DriftFound))
    assert [] == again
    assert (20, 20) == (len(only(rest, DriftCleared)), len(only(rest, DriftFound)))
