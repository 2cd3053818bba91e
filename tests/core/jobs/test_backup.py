"""Backups: taken, restored on trial, restored elsewhere; a failing target is told and tried again."""

import json
import shutil
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from core.decide.backup import due
from core.decide.retention import retire_backups
from core.inspection import inspect
from core.jobs.backup import Backups, backup, delete
from core.jobs.configuration import configuration
from core.jobs.recovery import recover
from core.jobs.service import Service
from core.jobs.validate import Interrupted
from core.logbook import open_log, state_at
from core.store.objects import Store
from db.workspace import Workspace
from events.types import (
    AlertCleared,
    AlertRaised,
    BackupDeleted,
    BackupFailed,
    BackupRequested,
    BackupRetired,
    BackupStarted,
    BackupTaken,
    BackupVerified,
    RequestRefused,
)
from events.verify import verify_log
from projections.fold import digest
from projections.keeping import FIRST_RETRY_US
from tests.core.damage import change_a_byte
from tests.core.jobs.work import drop, facts, rows, take_in, train_one


@pytest.fixture
def lived(service: Service) -> Service:
    """A version, a waiting file, a rejected one and its duplicate, a duplicate of the trained one."""
    drop(service, "a.jsonl", rows("same"))
    take_in(service)
    train_one(service)
    drop(service, "b.jsonl", rows("same"))
    drop(service, "bad.jsonl", "no json\n")
    drop(service, "c.jsonl")
    take_in(service)
    drop(service, "worse.jsonl", "no json\n")
    take_in(service)
    return service


def aim(service: Service, target: str) -> None:
    config = json.loads(service.workspace.config.read_text())
    config["backup"]["target"] = target
    service.workspace.config.write_text(json.dumps(config))
    configuration(service)


def take(service: Service) -> str:
    """One backup on request; gives its id."""
    service.log.append(BackupRequested())
    backup(service)
    assert () == service.state().control.pending
    return service.state().storage.backups_in("verified")[-1].id


def restored(store: Store, backup: str, folder: Path) -> Service:
    recover(store, backup, folder)
    return Service(Workspace(folder), open_log(Workspace(folder), "daemon"))


def store_of(service: Service) -> Store:
    return Store.at(service.settings().backup.target, service.workspace.root)


def test_a_backup_is_told_in_order_and_holds_what_the_log_says(lived: Service) -> None:
    name = take(lived)
    told = facts(lived, BackupStarted, BackupTaken, BackupVerified, BackupFailed)
    manifest = store_of(lived).manifest(name)

    assert ["BackupStarted", "BackupTaken", "BackupVerified"] == [type(fact).__name__ for fact in told]
    assert ("v0001",) == manifest.versions
    assert ("models/current_model/checkpoint-7",) == manifest.checkpoints
    assert {
        "config.json", "evertrain.sqlite", "queue/normal/c.jsonl", "queue/failed/bad.jsonl",
        "queue/failed/worse.jsonl", "models/versions/v0001/model.safetensors",
    } <= manifest.files.keys()  # fmt: skip
    assert not any("recently_completed" in name or name.startswith("inbox") for name in manifest.files)


@pytest.mark.parametrize(
    "target", ["backups", "{tmp}/elsewhere", "file://{tmp}/by url", "memory://{tmp}/store"]
)
def test_a_restored_workspace_is_the_same_and_whole(lived: Service, tmp_path: Path, target: str) -> None:
    aim(lived, target.format(tmp=tmp_path))
    name = take(lived)
    seq = store_of(lived).manifest(name).log[0]
    copy = restored(store_of(lived), name, tmp_path / "deep" / "copy")

    assert digest(state_at(lived.log, seq)) == digest(state_at(copy.log, seq))
    assert () == verify_log(copy.log.reader).problems
    assert [] == inspect(copy.workspace, copy.state(), deep=True)
    assert lived.state().versions.current == copy.state().versions.current
    copy.log.close()


def test_the_service_goes_on_in_a_restored_workspace(lived: Service, tmp_path: Path) -> None:
    name = take(lived)
    copy = restored(store_of(lived), name, tmp_path / "copy")
    train_one(copy)
    from transformers import AutoModelForCausalLM

    folders = ["models/versions/v0001", "models/versions/v0002", "models/current_model"]
    models = [AutoModelForCausalLM.from_pretrained(copy.workspace.root / folder) for folder in folders]

    assert "v0002" == copy.state().versions.current
    assert 3 == len(models)
    assert [] == inspect(copy.workspace, copy.state(), deep=True)
    assert take(copy) not in copy.state().storage.backups_in("failed")
    copy.log.close()


def test_what_did_not_come_along_is_told_in_the_restored_log(lived: Service, tmp_path: Path) -> None:
    take(lived)
    name = take(lived)
    copy = restored(store_of(lived), name, tmp_path / "copy")
    state = copy.state()

    assert ["a.jsonl"] == [entry.name for entry in state.queue.entries.values() if entry.lost]
    assert () == state.storage.backups_in()
    assert "b0003" == state.storage.next_backup
    copy.log.close()


def test_the_next_backup_writes_only_what_is_new(lived: Service) -> None:
    take(lived)
    take(lived)

    first, second = facts(lived, BackupTaken)

    assert isinstance(first, BackupTaken)
    assert isinstance(second, BackupTaken)
    assert first.added_bytes == first.size_bytes
    assert lived.workspace.log.stat().st_size * 2 > second.added_bytes
    assert first.versions == second.versions


def test_a_store_never_shares_bytes_with_a_live_file(lived: Service) -> None:
    take(lived)
    inodes = {
        path.stat().st_ino for path in lived.workspace.root.rglob("*")
        if path.is_file() and not path.is_relative_to(lived.workspace.backups)
    }  # fmt: skip
    objects = [path for path in (lived.workspace.backups / "objects").rglob("*") if path.is_file()]

    assert len(objects) > 10
    assert not inodes & {path.stat().st_ino for path in objects}


# -- what goes wrong ---------------------------------------------------------------------------------


def test_a_failing_target_is_told_tried_again_later_and_calm_after_a_success(lived: Service) -> None:
    shutil.rmtree(lived.workspace.backups)
    lived.workspace.backups.write_text("in the way")
    for _ in range(3):
        lived.log.append(BackupRequested())
        backup(lived)
    turn = Backups()
    head = lived.log.head()
    turn.turn(lived)
    waiting = facts(lived, BackupStarted)
    severities = [fact.severity for fact in facts(lived, AlertRaised) if isinstance(fact, AlertRaised)]
    lived.workspace.backups.unlink()
    name = take(lived)
    Backups().turn(lived)

    assert 3 == len(facts(lived, BackupFailed)) == len(waiting)
    assert head < lived.log.head()
    assert ["warning", "warning", "serious"] == severities
    assert 1 == len(facts(lived, AlertCleared))
    assert [name] == [b.id for b in lived.state().storage.backups_in()]


@pytest.mark.parametrize("target", ["nosuch://bucket/store", "memory://in-the-way/store", "/dev/null/store"])
def test_a_target_that_cannot_be_used_is_a_failure_with_its_name(lived: Service, target: str) -> None:
    MemoryFileSystem().pipe_file("/in-the-way", b"a file")
    aim(lived, target)
    lived.log.append(BackupRequested())
    backup(lived)
    during = lived.state()
    reached = delete(lived)
    aim(lived, "backups")
    take(lived)

    (fact,) = facts(lived, BackupFailed)

    assert isinstance(fact, BackupFailed)
    assert target.partition("://")[0].strip("/").partition("/")[0] in fact.reason
    assert "warning" == during.health.alerts["backup"].severity
    assert not due(during, during.at) and due(during, during.at + FIRST_RETRY_US)
    assert not reached or "nosuch" not in target
    assert "backup" not in lived.state().health.alerts


def test_a_stop_leaves_the_backup_to_the_next_start_and_the_old_one_whole(lived: Service) -> None:
    old = take(lived)
    lived.log.append(BackupRequested())
    lived.stop.set()
    with pytest.raises(Interrupted):
        backup(lived)
    during = store_of(lived).backups()
    lived.stop.clear()
    backup(lived)

    assert [old] == during
    assert ["b0001", "b0002"] == [b.id for b in lived.state().storage.backups_in("verified")]
    assert 2 == len(facts(lived, BackupStarted))
    assert [] == inspect(lived.workspace, lived.state(), deep=True)
    assert not (lived.workspace.temporary / "backup").exists()


def test_a_damaged_base_model_is_never_backed_up_as_if_it_were_whole(lived: Service) -> None:
    change_a_byte(lived.base() / "config.json")
    lived.log.append(BackupRequested())
    backup(lived)
    (fact,) = facts(lived, BackupFailed)

    assert isinstance(fact, BackupFailed)
    assert "copy the base model there again" in fact.reason


def test_another_workspaces_backup_of_the_same_name_is_neither_replaced_nor_deleted(
    lived: Service, made: Path, tmp_path: Path
) -> None:
    shutil.copytree(made, tmp_path / "other")
    other = Service(Workspace(tmp_path / "other"), open_log(Workspace(tmp_path / "other"), "daemon"))
    for one in (lived, other):
        aim(one, str(tmp_path / "shared"))
    take(lived)
    other.log.append(BackupRequested())
    backup(other)
    (fact,) = facts(other, BackupFailed)
    delete(other)

    assert isinstance(fact, BackupFailed)
    assert "another workspace's b0001" in fact.reason
    assert 1 == len(facts(other, BackupDeleted))
    assert [] == inspect(lived.workspace, lived.state(), deep=True)
    assert ["b0001"] == store_of(lived).backups()
    restored(store_of(lived), "b0001", tmp_path / "copy").log.close()
    other.log.close()


def test_of_several_requests_the_first_gets_the_backup_and_the_others_are_told(lived: Service) -> None:
    lived.log.append(BackupRequested(), BackupRequested())
    backup(lived)

    assert 1 == len(facts(lived, BackupVerified)) == len(facts(lived, RequestRefused))
    assert () == lived.state().control.pending


# -- deleting ----------------------------------------------------------------------------------------


def test_a_condemned_backup_goes_and_what_another_one_names_stays(lived: Service, tmp_path: Path) -> None:
    take(lived)
    before = store_of(lived).manifest("b0001")
    name = take(lived)
    lived.decide(lambda state: retire_backups(state, {"last": 1}), ())
    delete(lived)
    (gone,) = facts(lived, BackupDeleted)
    after = store_of(lived).manifest(name)
    left = {path.name for path in (lived.workspace.backups / "objects").rglob("*") if path.is_file()}

    assert isinstance(gone, BackupDeleted)
    assert sum(s for sha, s in before.objects.items() if sha not in after.objects) == gone.freed_bytes
    assert set(after.objects) == left
    assert [name] == store_of(lived).backups()
    restored(store_of(lived), name, tmp_path / "copy").log.close()


def test_nothing_is_swept_while_a_manifest_cannot_be_read(lived: Service) -> None:
    take(lived)
    drop(lived, "d.jsonl")
    take_in(lived)
    take(lived)
    objects = set((lived.workspace.backups / "objects").rglob("*"))
    change_a_byte(lived.workspace.backups / "backups" / "b0002.json")
    lived.append(BackupRetired(backup="b0001", reason="test"))
    delete(lived)

    assert ["b0002.json"] == [path.name for path in (lived.workspace.backups / "backups").iterdir()]
    assert objects == set((lived.workspace.backups / "objects").rglob("*"))
