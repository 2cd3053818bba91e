"""Backup and release ask for room before they write, and leave the floor to what cannot wait."""

from collections.abc import Callable
from pathlib import Path

import pytest

from core.decide.disk import amount, floor_bytes
from core.decide.retention import DEPENDS_ON as RETIRE_ON
from core.decide.retention import retire_backups
from core.inspection import inspect
from core.jobs.backup import Backups, backup, delete
from core.jobs.consolidation import Consolidation
from core.jobs.storing import Short
from core.jobs.table import Job, run
from db.reserve import NoRoom
from events.types import (
    BackupDeleted,
    BackupFailed,
    BackupRequested,
    BackupRetired,
    ConsolidateRequested,
    VersionPublished,
)
from tests.core.cli.conftest import command
from tests.core.jobs.test_full_disk import (
    LITTLE,
    MIB,
    SIZE,
    Cramped,
    alerts,
    backed_up,
    configure,
    cramped,
    states,
    status,
    waited,
)
from tests.core.jobs.work import drop, facts, rows, take_in
from tests.small_disk import SmallDisk

__all__ = ["backed_up", "cramped"]


def test_a_backup_leaves_the_floor_to_others(backed_up: Cramped) -> None:
    disk, service = backed_up
    service.append(BackupRequested())
    disk.fill(leave=3 * MIB)  # the copy of the log fits, the trial restore does not
    with pytest.raises(Short) as found:
        backup(service)
    configure(service, disk_floor_gb=10.0)
    floor = int(floor_bytes(10.0, SIZE))
    disk.relieve()
    disk.fill(leave=int(found.value.needs) + floor // 2)
    why = waited(service, Job("backup", 1.0, Backups().turn))
    disk.relieve()
    disk.fill(leave=int(found.value.needs) + 2 * floor)
    run(service, Job("backup", 1.0, Backups().turn))

    assert found.value.needs > 3 * MIB
    assert f"{amount(floor)} of it to be kept free" in why
    assert ("b0002", "verified") in states(service.state())
    assert disk.free >= floor


def test_a_backup_that_waits_reads_no_file_again_and_deletes_what_may_go(backed_up: Cramped) -> None:
    disk, service = backed_up
    service.append(BackupRequested())
    disk.fill(leave=LITTLE)
    job = Backups()
    with pytest.raises(NoRoom):
        job.turn(service)
    config = service.base() / "config.json"
    config.rename(config.with_name("away"))  # who packs now says that the base model is damaged
    service.append(BackupRetired(backup="b0001", reason="test"))
    with pytest.raises(NoRoom):
        job.turn(service)
    during = states(service.state())
    config.with_name("away").rename(config)
    disk.relieve()
    job.turn(service)

    assert [("b0002", "writing")] == during
    assert [("b0002", "verified")] == states(service.state())
    assert [] == facts(service, BackupFailed)


def test_a_backup_that_waits_fails_when_another_target_is_set(backed_up: Cramped, tmp_path: Path) -> None:
    disk, service = backed_up
    service.append(BackupRequested())
    disk.fill()
    with pytest.raises(NoRoom):
        backup(service)
    configure(service, backup={**service.state().workspace.config["backup"], "target": "memory://elsewhere"})
    backup(service)
    (failed,) = facts(service, BackupFailed)

    assert isinstance(failed, BackupFailed)
    assert "b0002" == failed.backup and "needs" in failed.reason


def test_a_full_disk_of_the_backups_alone_fails_the_backup(
    backed_up: Cramped, small_disk: Callable[[int], SmallDisk]
) -> None:
    _, service = backed_up
    other = small_disk(SIZE)
    config = service.state().workspace.config["backup"]
    configure(service, backup={**config, "target": str(other.root / "store")})
    service.append(BackupRequested())
    other.fill()
    backup(service)
    (failed,) = facts(service, BackupFailed)
    told, at_once = alerts(service), backup(service)
    shown = [one.id for one in service.state().storage.backups_in("taken", "verified")]
    other.relieve()
    service.append(BackupRequested())
    backup(service)

    assert isinstance(failed, BackupFailed)
    assert "No space left" in failed.reason and "No space left" in told["backup"]
    assert (["b0001"], False) == (shown, at_once)
    assert [("b0001", "verified"), ("b0002", "failed"), ("b0003", "verified")] == states(service.state())
    assert "backup" not in alerts(service)
    assert [] == inspect(service.workspace, service.state(), deep=True)


def test_a_condemned_backup_goes_with_no_byte_free(cramped: Cramped) -> None:
    disk, service = cramped
    drop(service, "a.jsonl", rows("a", 8))
    take_in(service)
    for _ in range(2):
        service.append(BackupRequested())
        backup(service)
    service.decide(lambda state: retire_backups(state, {"last": 1}), RETIRE_ON)
    disk.fill()
    at_first = disk.free
    gone = delete(service)
    (deleted,) = facts(service, BackupDeleted)
    kept = service.state().storage.backups_in()
    disk.relieve()

    assert (0, True) == (at_first, gone)
    assert "b0001" == deleted.backup and deleted.freed_bytes > 0
    assert [("b0002", "verified")] == [(one.id, one.state) for one in kept]
    assert [] == inspect(service.workspace, service.state(), deep=True)


# -- release -----------------------------------------------------------------------------------------


def test_release(backed_up: Cramped) -> None:
    disk, service = backed_up
    (request,) = service.append(ConsolidateRequested())
    disk.fill(leave=MIB)
    job = Job("consolidation", 1.0, Consolidation().work)
    why, said = waited(service, job), status(service)
    pending = [one.seq for one in service.state().control.pending]
    disk.relieve()
    run(service, job)
    made = facts(service, VersionPublished)[-1]

    assert "a release needs" in why
    assert ("waiting", why) == said
    assert [request] == pending
    assert isinstance(made, VersionPublished) and request == made.request
    assert {} == alerts(service)


# -- by hand -----------------------------------------------------------------------------------------


def test_without_a_service_the_command_says_what_is_missing_and_others_still_work(backed_up: Cramped) -> None:
    disk, service = backed_up
    disk.fill(leave=LITTLE)
    place = ["--workspace", service.workspace.root]
    asked = command("backup", "now", *place)
    other = command("versions", "pin", "v0001", *place)
    disk.relieve()
    again = command("backup", "now", *place)

    assert 1 == asked.returncode
    assert "the backup b0002 needs" in asked.stderr and "stays in the log" in asked.stderr
    assert 0 == other.returncode, other.stderr
    assert 0 == again.returncode, again.stderr
    assert [("b0001", "verified"), ("b0002", "verified"), ("b0003", "verified")] == states(service.state())
