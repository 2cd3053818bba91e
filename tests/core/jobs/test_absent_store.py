"""A local target that is not there: an unmounted disk is no damage, and nothing is taken for deleted."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from core.decide.retention import retire_backups
from core.inspection import inspect
from core.jobs.backup import Backups, backup, delete
from core.jobs.reconcile import reconcile
from core.jobs.service import Service
from core.store.checking import WHOLE, check_all
from core.store.places import StoreFailed
from events.types import (
    AlertRaised,
    BackupDamaged,
    BackupDeleted,
    BackupFailed,
    BackupRequested,
    BackupRetired,
    DriftCleared,
    DriftFound,
)
from tests.core.jobs.test_backup import aim, take
from tests.core.jobs.work import drop, facts, take_in, train_one

Away = Callable[[], Callable[[], object]]


@pytest.fixture
def disk(service: Service, tmp_path: Path) -> Path:
    """Where another disk is mounted; the service's backups go there."""
    drop(service, "a.jsonl")
    take_in(service)
    train_one(service)
    (tmp_path / "disk").mkdir()
    aim(service, str(tmp_path / "disk" / "store"))
    return tmp_path / "disk"


@pytest.fixture(params=["unmounted", "an empty folder instead"])
def unmount(disk: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Away:
    """Takes the disk away; gives what brings it back."""

    def away() -> Callable[[], object]:
        (disk / "store").rename(tmp_path / "away")
        if request.param != "unmounted":
            (disk / "store").mkdir()
        return back

    def back() -> None:
        if (disk / "store").exists():
            (disk / "store").rmdir()
        (tmp_path / "away").rename(disk / "store")

    return away


def look(service: Service) -> None:
    reconcile(service, settle=0, hour=0)


def states(service: Service) -> list[tuple[str, str]]:
    return [(one.id, one.state) for one in service.state().storage.backups_in()]


def test_backups_on_an_absent_disk_cannot_be_judged(service: Service, unmount: Away) -> None:
    for _ in range(2):
        take(service)
    whole = service.state().storage.backups_in(*WHOLE)
    mount = unmount()
    with pytest.raises(StoreFailed, match=r"store holds no backup, .* b0001, b0002 there: mount"):
        list(check_all(service.workspace.root, whole))
    mount()

    assert [[], []] == [problems for _, problems in check_all(service.workspace.root, whole)]


def test_the_hourly_look_tells_one_difference_and_no_damage(service: Service, unmount: Away) -> None:
    for _ in range(3):
        take(service)
    mount = unmount()
    look(service)
    look(service)
    (drift,) = facts(service, DriftFound)
    alert = service.state().health.alerts["drift"]
    during = states(service)
    mount()
    look(service)
    Backups().turn(service)

    assert isinstance(drift, DriftFound)
    assert ("backup_missing", service.settings().backup.target) == (drift.kind, drift.path)
    assert "mount" in drift.remedy and "warning" == alert.severity
    assert [("b0001", "verified"), ("b0002", "verified"), ("b0003", "verified")] == during
    assert 1 == len(facts(service, DriftCleared))
    assert "drift" not in service.state().health.alerts
    assert [] == facts(service, BackupDamaged, BackupDeleted)
    assert [] == inspect(service.workspace, service.state(), deep=True)


@pytest.mark.parametrize("left", [1, 0])
def test_a_condemned_backup_is_deleted_when_its_disk_is_there_again(
    service: Service, disk: Path, unmount: Away, left: int
) -> None:
    """`left`: how many there are besides; of none at all, the folder itself must be there."""
    for _ in range(1 + left):
        take(service)
    mount = unmount()
    service.append(BackupRetired(backup="b0001", reason="test"))
    reached = delete(service), delete(service)
    told = [fact.detail for fact in facts(service, AlertRaised) if isinstance(fact, AlertRaised)]
    during = states(service)[0]
    mount()
    reached_now = delete(service)
    (gone,) = facts(service, BackupDeleted)

    assert (False, False) == reached
    assert 1 == len(told) and "b0001 could not be deleted" in told[0] and "mount" in told[0]
    assert ("b0001", "retired") == during
    assert reached_now and isinstance(gone, BackupDeleted) and gone.freed_bytes > 0
    assert left == len(list((disk / "store" / "backups").iterdir()))
    assert "backup" not in service.state().health.alerts


def test_an_absent_disk_holds_up_no_deletion_elsewhere(service: Service, unmount: Away) -> None:
    take(service)
    aim(service, "backups")
    take(service)
    take(service)
    unmount()
    service.append(*(BackupRetired(backup=name, reason="test") for name in ("b0001", "b0002")))
    reached = delete(service)

    assert not reached
    assert [("b0001", "retired"), ("b0003", "verified")] == states(service)


def test_no_backup_is_written_where_the_disk_should_be(
    service: Service, disk: Path, unmount: Away, tmp_path: Path
) -> None:
    take(service)
    mount = unmount()
    service.log.append(BackupRequested())
    backup(service)
    (failed,) = facts(service, BackupFailed)
    written = [path for path in disk.rglob("*") if path.is_file()]
    mount()
    take(service)

    assert isinstance(failed, BackupFailed)
    assert "mount" in failed.reason
    assert [] == written
    assert ["b0001", "b0003"] == [one.id for one in service.state().storage.backups_in("verified")]
    assert [] == inspect(service.workspace, service.state(), deep=True)


def test_a_store_deleted_from_the_workspace_is_made_anew(service: Service) -> None:
    drop(service, "a.jsonl")
    take_in(service)
    train_one(service)
    take(service)
    shutil.rmtree(service.workspace.backups)
    name = take(service)
    service.decide(lambda state: retire_backups(state, {"last": 1}), ())
    delete(service)

    assert [(name, "verified")] == states(service)


def test_what_a_failed_backup_never_wrote_is_deleted_without_its_target(service: Service, disk: Path) -> None:
    disk.joinpath("store").write_text("in the way")
    service.log.append(BackupRequested())
    backup(service)
    (disk / "store").unlink()
    during, reached = states(service), delete(service)

    assert [("b0001", "failed")] == during
    assert reached
    assert [] == states(service)
