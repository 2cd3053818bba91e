"""When a backup is due, what begins, and what its end leads to: by the log alone."""

import pytest

from core.decide.backup import (
    begin,
    doomed,
    due,
    examined,
    failed,
    is_hopeless,
    resume_points,
    settle,
    verified,
)
from events.types import (
    AlertCleared,
    AlertRaised,
    BackupDamaged,
    BackupDeleted,
    BackupFailed,
    BackupRequested,
    BackupRetired,
    BackupStarted,
    BackupTaken,
    BackupVerified,
    CheckpointDeleted,
    CheckpointRetired,
    ConfigChanged,
    ProcessCrashed,
    RequestRefused,
    VersionPublished,
)
from projections.keeping import FIRST_RETRY_US, HOUR_US, next_backup_due, retry_delay
from tests.facts import specimen
from tests.projections.story import Tale

HOURS = 6


def tale(*, version: bool = True) -> Tale:
    """A workspace with settings and, unless told otherwise, a version."""
    found = Tale()
    config = {"backup": {"target": "backups", "every_hours": HOURS, "keep": {"daily": 7}}}
    found.tell(ConfigChanged(config=config, changes={}, config_sha256="c"))
    if version:
        found.tell(specimen(VersionPublished, version="v0001", request=None, kind="run"))
    return found


def took(found: Tale, name: str, *, good: bool = True) -> None:
    found.tell(BackupStarted(backup=name, target="backups"))
    if good:
        found.tell(specimen(BackupTaken, backup=name), BackupVerified(backup=name, seconds=1))
    else:
        found.tell(BackupFailed(backup=name, reason="no space"))


def test_the_first_is_due_once_there_is_a_version() -> None:
    none, one = tale(version=False).state, tale().state

    assert not due(none, none.at)
    assert due(one, one.at)
    assert ["b0001"] == [fact.backup for fact in begin(one, one.at) if isinstance(fact, BackupStarted)]


def test_the_next_is_due_an_interval_after_the_newest_ended() -> None:
    story = tale()
    took(story, "b0001")
    ended = story.state.storage.backup_ended_at

    assert not due(story.state, ended + HOURS * HOUR_US - 1)
    assert due(story.state, ended + HOURS * HOUR_US)


def test_a_clock_that_went_back_brings_one_more_rather_than_none() -> None:
    story = tale()
    took(story, "b0001")

    assert due(story.state, story.state.storage.backup_ended_at - 1)


def test_a_failed_one_is_tried_again_later_and_later_but_never_later_than_the_interval() -> None:
    story = tale()
    for n in range(1, 4):
        took(story, f"b{n:04d}", good=False)
    ended = story.state.storage.backup_ended_at
    interval = HOURS * HOUR_US

    assert not due(story.state, ended + 4 * FIRST_RETRY_US - 1)
    assert due(story.state, ended + 4 * FIRST_RETRY_US)
    assert ended + 4 * FIRST_RETRY_US == next_backup_due(story.state)
    assert [1, 2, 4, 8] == [retry_delay(n, interval) // FIRST_RETRY_US for n in range(1, 5)]
    assert interval == retry_delay(1000, interval)
    assert {1} == {retry_delay(n, 1) for n in range(1, 100)}


def test_one_is_due_at_once_when_none_is_left_that_holds() -> None:
    story = tale()
    took(story, "b0001")
    story.tell(BackupDamaged(backup="b0001", problems=("bytes",)))

    assert due(story.state, story.state.at + 1)


@pytest.mark.parametrize("state", ["writing", "taken"])
def test_there_is_only_one_at_a_time(state: str) -> None:
    story = tale()
    story.tell(BackupStarted(backup="b0001", target="backups"))
    if state == "taken":
        story.tell(specimen(BackupTaken, backup="b0001"))
    story.tell(BackupRequested())

    assert [] == begin(story.state, story.state.at)


def test_a_request_is_served_at_once_also_without_a_version_and_others_are_told() -> None:
    story = tale(version=False)
    first, second = story.tell(BackupRequested()), story.tell(BackupRequested())

    started, refused = begin(story.state, story.state.at)

    assert BackupStarted(backup="b0001", target="backups", request=first) == started
    assert isinstance(refused, RequestRefused)
    assert second == refused.request


def test_below_the_disk_floor_nothing_begins_and_a_request_is_refused() -> None:
    story = tale()
    story.tell(AlertRaised(severity="serious", type="waiting", detail="full"))
    scheduled = begin(story.state, story.state.at)
    asked = story.tell(BackupRequested())

    (refused,) = begin(story.state, story.state.at)

    assert [] == scheduled
    assert isinstance(refused, RequestRefused)
    assert asked == refused.request


def test_the_third_failure_in_a_row_is_serious_and_a_success_calms() -> None:
    story = tale()
    severities = []
    for n in range(1, 4):
        story.tell(BackupStarted(backup=f"b{n:04d}", target="backups"))
        facts = failed(story.state, f"b{n:04d}", "no space", None)
        severities += [fact.severity for fact in facts if isinstance(fact, AlertRaised)]
        story.tell(*facts)
    story.tell(BackupStarted(backup="b0004", target="backups"))
    ends = verified(story.state, "b0004", 1.0, None)

    assert ["warning", "warning", "serious"] == severities
    assert [BackupVerified(backup="b0004", seconds=1.0), AlertCleared(type="backup")] == ends
    assert [] == failed(story.state, "b0001", "late word", None) == verified(story.state, "b0001", 1.0, None)


def test_damage_is_told_once_and_taken_back_when_it_is_mended() -> None:
    story = tale()
    took(story, "b0001")
    quiet = examined(story.state, "b0001", (), 1.0)
    first = examined(story.state, "b0001", ("an object",), 1.0)
    story.tell(*first)
    again = examined(story.state, "b0001", ("an object",), 1.0)
    mended = examined(story.state, "b0001", (), 1.0)

    assert [] == quiet == again
    assert [BackupDamaged, AlertRaised] == [type(fact) for fact in first]
    assert [BackupVerified, AlertCleared] == [type(fact) for fact in mended]


def test_one_over_which_the_daemon_dies_again_and_again_is_hopeless() -> None:
    story = tale()
    story.tell(BackupStarted(backup="b0001", target="backups"))
    found = []
    for role in ("daemon", "daemon", "trainer", "daemon"):
        story.tell(specimen(ProcessCrashed, role=role, run=None))
        found.append(is_hopeless(story.state, story.state.storage.backups["b0001"]))

    assert [False, False, False, True] == found


def test_condemned_and_failed_ones_are_doomed() -> None:
    story = tale()
    for n, good in ((1, True), (2, False), (3, True)):
        took(story, f"b{n:04d}", good=good)
    story.tell(BackupRetired(backup="b0001", reason="old"))

    assert ["b0001", "b0002"] == [backup.id for backup in doomed(story.state)]


def test_the_newest_intact_resume_point_is_kept() -> None:
    story = tale()
    old, new = story.saves("r1", 5), story.saves("r1", 9)

    assert [new] == [c.path for c in resume_points(story.state)]
    assert [old] == [c.path for c in resume_points(story.state, frozenset({new}))]


def test_a_restored_log_learns_of_all_that_did_not_come() -> None:
    story = tale()
    old, new = story.saves("r1", 5), story.saves("r1", 9)
    took(story, "b0001")
    took(story, "b0002")
    held = frozenset({f"{new}/manifest.json", "the path/manifest.json"})
    facts = settle(story.state, held, "b0002", frozenset({"b0002"}))
    story.tell(*facts)

    assert [CheckpointRetired, CheckpointDeleted, BackupRetired, BackupDeleted] == [type(f) for f in facts]
    assert [new] == [c.path for c in story.state.storage.usable]
    assert ["b0002"] == [b.id for b in story.state.storage.backups_in()]
    assert old not in story.state.storage.checkpoints
    assert [] == settle(story.state, held, "b0002", frozenset({"b0002"}))
