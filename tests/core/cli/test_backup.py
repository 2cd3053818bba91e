"""The commands of backups: what they print, refuse, and leave in the log."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.inspection import inspect
from core.jobs.service import Service
from core.logbook import open_log, state_at
from db.processes import RoleLock
from db.workspace import Workspace
from events.types import BackupDamaged, BackupDeleted, BackupVerified
from projections.keeping import backups
from tests.core.cli.conftest import Done, command
from tests.core.damage import change_a_byte
from tests.core.jobs.work import facts

Ask = Callable[..., Any]


def whole(root: Path) -> None:
    log = open_log(Workspace(root), "test")
    service = Service(Workspace(root), log)
    assert [] == inspect(service.workspace, service.state(), deep=True)
    log.close()


def told(place: Workspace, *types: type) -> int:
    log = open_log(place, "test")
    found = len(facts(Service(place, log), *types))
    log.close()
    return found


def biggest(place: Workspace) -> Path:
    objects = (path for path in (place.backups / "objects").rglob("*") if path.is_file())
    return max(objects, key=lambda path: path.stat().st_size)


def test_a_backup_is_taken_listed_verified_and_restored_elsewhere(
    place: Workspace, ask: Ask, tmp_path: Path
) -> None:
    answer = ask("backup", "now")
    (listed,) = ask("backup", "list")
    (there,) = ask("backup", "list", "--target", place.backups)
    log = open_log(place, "test")
    page = backups(state_at(log))["backups"]
    log.close()
    verdict = ask("backup", "verify", "b0001")
    made = ask("backup", "restore", "b0001", tmp_path / "copy")

    assert "BackupVerified" == answer["answer"]["type"]
    assert ("b0001", "verified", ["v0001"]) == (listed["id"], listed["state"], listed["versions"])
    assert [listed] == page
    assert listed.keys() == there.keys()
    known = ("id", "created_at", "seq", "versions", "log_seq", "size_bytes")
    assert {name: listed[name] for name in known} == {name: there[name] for name in known}
    assert {"ok": True, "backups": [{"id": "b0001", "ok": True, "problems": []}]} == verdict
    assert (str(tmp_path / "copy"), "b0001") == (made["workspace"], made["id"])
    whole(tmp_path / "copy")
    assert 0 == command("verify", "--deep", "--workspace", tmp_path / "copy").returncode


def test_the_old_workspace_may_be_gone(place: Workspace, run: Callable[..., Done], tmp_path: Path) -> None:
    run("backup", "now", "--wait")
    run("backup", "now", "--wait")
    place.backups.rename(tmp_path / "saved")
    shutil.rmtree(place.root)
    listed = command("backup", "list", "--target", tmp_path / "saved", "--json")
    first = command("backup", "restore", "b0001", tmp_path / "one", "--target", tmp_path / "saved")
    newest = command("backup", "restore", tmp_path / "two", "--target", tmp_path / "saved", "--json")

    assert ["b0001", "b0002"] == [row["id"] for row in json.loads(listed.stdout)]
    assert 0 == first.returncode, first.stderr
    assert "b0002" == json.loads(newest.stdout)["id"]
    for name in ("one", "two"):
        whole(tmp_path / name)


def test_a_damaged_backup_is_told_ends_with_4_and_is_not_restored(
    place: Workspace, run: Callable[..., Done], ask: Ask, tmp_path: Path
) -> None:
    run("backup", "now", "--wait")
    change_a_byte(biggest(place))
    verdict = ask("backup", "verify", check=4)
    deep = ask("verify", "--deep", check=4)
    refused = run("backup", "restore", tmp_path / "copy", check=4)
    again = ask("backup", "verify", check=4)

    assert not verdict["ok"]
    assert biggest(place).name in verdict["backups"][0]["problems"][0]
    assert ["backup"] == [problem["kind"] for problem in deep["problems"]]
    assert "is damaged and was not restored" in refused.stderr
    assert not (tmp_path / "copy").exists()
    assert [place.root] == list(tmp_path.iterdir())
    assert again == verdict
    assert 1 == told(place, BackupDamaged)


def test_an_absent_target_ends_with_1_and_nothing_is_told(
    place: Workspace, run: Callable[..., Done], ask: Ask, tmp_path: Path
) -> None:
    run("backup", "now", "--wait")
    place.backups.rename(tmp_path / "away")
    before = told(place)
    verdict = run("backup", "verify", check=1)
    restored = run("backup", "restore", tmp_path / "copy", check=1)
    after = told(place)
    deep = ask("verify", "--deep", check=4)
    (tmp_path / "away").rename(place.backups)
    ask("backup", "verify")

    assert "holds no backup" in verdict.stderr and "mount" in verdict.stderr
    assert "holds no backup" in restored.stderr
    assert before == after
    assert [("backup_missing", "backups")] == [(p["kind"], p["path"]) for p in deep["problems"]]


def test_a_mended_backup_counts_again(place: Workspace, run: Callable[..., Done]) -> None:
    run("backup", "now", "--wait")
    before = biggest(place).read_bytes()
    change_a_byte(biggest(place))
    run("backup", "verify", check=4)
    biggest(place).write_bytes(before)
    run("backup", "verify")

    assert 2 == told(place, BackupVerified)


def test_a_folder_that_is_not_empty_or_inside_is_refused(
    place: Workspace, run: Callable[..., Done], tmp_path: Path
) -> None:
    run("backup", "now", "--wait")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("precious")
    (tmp_path / "link").symlink_to(place.root / "models")
    (tmp_path / "empty").mkdir()
    refused = [
        run("backup", "restore", folder, check=3).stderr
        for folder in (
            tmp_path / "full",
            place.root / "copy",
            tmp_path / "link" / "copy",
            place.backups / "x",
        )
    ]
    run("backup", "restore", tmp_path / "empty")

    assert "not an empty folder" in refused[0]
    assert all("lies inside" in line for line in refused[1:])
    assert "precious" == (tmp_path / "full" / "mine").read_text()
    whole(tmp_path / "empty")


@pytest.mark.parametrize("words", [["b0009"], ["../b0001"], ["b0001", "a", "b"]])
def test_a_wrong_name_is_a_wrong_usage(run: Callable[..., Done], tmp_path: Path, words: list[str]) -> None:
    run("backup", "now", "--wait")

    assert run("backup", "restore", *words, tmp_path / "copy", check=2).stderr
    assert run("backup", "verify", "b0009", check=2).stderr


def test_a_backup_that_fails_ends_with_1_and_says_why(place: Workspace, run: Callable[..., Done]) -> None:
    shutil.rmtree(place.backups)
    place.backups.write_text("in the way")
    done = run("backup", "now", check=1)

    assert "failed" in done.stderr


def test_prune_says_first_and_then_deletes(place: Workspace, run: Callable[..., Done], ask: Ask) -> None:
    for _ in range(3):
        run("backup", "now", "--wait")
    dry = ask("backup", "prune", "--dry-run")
    untouched = [row["state"] for row in ask("backup", "list")]
    gone = ask("backup", "prune")

    assert ["b0001", "b0002"] == [row["id"] for row in dry] == [row["id"] for row in gone]
    assert all("backup.keep" in row["reason"] for row in dry)
    assert ["verified"] * 3 == untouched
    assert ["b0003"] == [row["id"] for row in ask("backup", "list")]
    assert 2 == told(place, BackupDeleted)
    assert [] == ask("backup", "prune")


def test_with_a_service_running_the_service_deletes(
    place: Workspace, run: Callable[..., Done], ask: Ask
) -> None:
    for _ in range(2):
        run("backup", "now", "--wait")
    with RoleLock(place.locks, "daemon").acquire():
        rows = ask("backup", "prune")

    assert [{"id": "b0001", "freed_bytes": None}] == rows
    assert ["retired", "verified"] == [row["state"] for row in ask("backup", "list")]
