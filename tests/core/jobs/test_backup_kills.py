"""Backup, recovery and prune, killed before each of their file-system steps; then the next turn."""

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from core.inspection import inspect
from core.jobs.backup import Backups, backup
from core.jobs.recovery import recover
from core.jobs.service import Service
from core.logbook import open_log
from core.store.objects import Store
from db.workspace import Workspace
from events.types import BackupDeleted, BackupRequested, BackupRetired, BackupVerified
from tests.core.jobs.test_backup import lived, take
from tests.core.jobs.work import drop, facts, take_in
from tests.sweep import killed_at_every_step

__all__ = ["lived"]


@pytest.fixture
def copies(lived: Service, tmp_path: Path) -> Callable[[int], Path]:
    """Fresh copies of a workspace with one backup, and one more file since."""
    take(lived)
    drop(lived, "later.jsonl")
    take_in(lived)
    lived.log.close()

    def prepare(n: int) -> Path:
        root = tmp_path / f"trial{n}"
        shutil.copytree(lived.workspace.root, root / "workspace")
        return root

    return prepare


def opened(root: Path) -> Service:
    return Service(Workspace(root / "workspace"), open_log(Workspace(root / "workspace"), "daemon"))


def is_whole(service: Service, elsewhere: Path) -> None:
    """Nothing is damaged, and the newest backup comes back on another path."""
    assert [] == inspect(service.workspace, service.state(), deep=True)
    newest = service.state().storage.backups_in("verified")[-1]
    recover(Store.at(newest.target, service.workspace.root), newest.id, elsewhere)
    with closing(open_log(Workspace(elsewhere), "test")) as log:
        copy = Service(Workspace(elsewhere), log)
        assert [] == inspect(copy.workspace, copy.state(), deep=True)
    shutil.rmtree(elsewhere)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_a_backup_killed_at_any_step_is_finished_and_the_old_one_stays(copies: Callable[[int], Path]) -> None:
    def work(root: Path) -> None:
        service = opened(root)
        service.log.append(BackupRequested())
        backup(service)
        service.log.close()

    for n, root in enumerate(killed_at_every_step(copies, work)):
        service = opened(root)
        store = Store.at("backups", service.workspace.root)
        listed = {backup.id for backup in service.state().storage.backups_in("verified")}
        assert "b0001" in listed <= set(store.backups())
        if not service.state().storage.backups_in("writing", "taken") and listed == {"b0001"}:
            service.log.append(BackupRequested())  # it was killed before anybody had asked
        backup(service)
        assert ["b0001", "b0002"] == [b.id for b in service.state().storage.backups_in("verified")], n
        assert {"b0001", "b0002"} == set(store.backups())
        assert 2 == len(facts(service, BackupVerified))
        assert 0 == store.sweep()
        backup(service)  # nothing is due: it only tidies up
        assert not (service.workspace.temporary / "backup").exists()
        is_whole(service, root / "elsewhere")
        service.log.close()
        shutil.rmtree(root)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_a_recovery_killed_at_any_step_leaves_nothing_or_the_whole(copies: Callable[[int], Path]) -> None:
    def work(root: Path) -> None:
        store = Store.at("backups", root / "workspace")
        if not (root / "copy").exists():
            recover(store, "b0001", root / "copy")

    for root in killed_at_every_step(copies, work):
        assert not (root / "copy").exists() or any((root / "copy").iterdir())
        work(root)
        with closing(open_log(Workspace(root / "copy"), "test")) as log:
            copy = Service(Workspace(root / "copy"), log)
            assert [] == inspect(copy.workspace, copy.state(), deep=True)
        assert {"workspace", "copy"} == {path.name for path in root.iterdir()}
        shutil.rmtree(root)


def test_a_prune_killed_at_any_step_is_finished_and_takes_nothing_else(
    lived: Service, tmp_path: Path
) -> None:
    take(lived)
    drop(lived, "later.jsonl")
    take_in(lived)
    take(lived)
    lived.append(BackupRetired(backup="b0001", reason="test"))
    lived.log.close()

    def prepare(n: int) -> Path:
        root = tmp_path / f"trial{n}"
        shutil.copytree(lived.workspace.root, root / "workspace")
        return root

    def work(root: Path) -> None:
        service = opened(root)
        Backups().turn(service)
        service.log.close()

    trials = 0
    for root in killed_at_every_step(prepare, work):
        trials += 1
        work(root)
        service = opened(root)
        assert ["b0002"] == [backup.id for backup in service.state().storage.backups_in()]
        assert ["b0002"] == Store.at("backups", service.workspace.root).backups()
        assert 1 == len(facts(service, BackupDeleted))
        assert [] == inspect(service.workspace, service.state(), deep=True)
        service.log.close()
        shutil.rmtree(root)

    assert trials >= 3
