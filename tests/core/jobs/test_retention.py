"""Retention on real folders: what goes, what stays, and that no crash leaves it half done."""

import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from core.decide.retention import DEPENDS_ON, retire_checkpoints, retire_versions
from core.inspection import inspect
from core.jobs.configuration import configuration
from core.jobs.publish import show_current
from core.jobs.retention import Retention, retention
from core.jobs.service import Service
from core.logbook import open_log
from db.workspace import Workspace
from events.types import (
    CheckpointDeleted,
    CheckpointRetired,
    Event,
    PinRequested,
    VersionDeleted,
    VersionPinned,
    VersionRetired,
)
from tests.core.jobs.work import drop, facts, refuse, resume_point, take_in, train_one
from tests.sweep import killed_at_every_step


def opened(root: Path) -> Service:
    return Service(Workspace(root), open_log(Workspace(root), "daemon"))


def edit(service: Service, **changes: object) -> None:
    config = json.loads(service.workspace.config.read_text())
    service.workspace.config.write_text(json.dumps(config | changes))
    configuration(service)


@pytest.fixture(scope="module")
def long_lived(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four versions, the first one pinned, six resume points; nothing was retired yet."""
    root = tmp_path_factory.mktemp("long") / "workspace"
    shutil.copytree(made, root)
    service = opened(root)
    for name in ("a", "b", "c", "d"):
        drop(service, f"{name}.jsonl")
        take_in(service)
        train_one(service)
    (asked,) = service.log.append(PinRequested(version="v0001"))
    service.log.append(VersionPinned(version="v0001", request=asked))
    for step in (1000, 2000):
        resume_point(service, "r", step)
    service.log.close()
    return root


@pytest.fixture
def lived(long_lived: Path, tmp_path: Path) -> Iterator[Service]:
    shutil.copytree(long_lived, tmp_path / "lived")
    service = opened(tmp_path / "lived")
    yield service
    service.log.close()


def linked(source: str, target: str) -> None:
    """A quick copy for work that deletes and never writes into a model's files."""
    if source.endswith((".safetensors", "tokenizer.json")):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def folders(service: Service) -> set[str]:
    """Every version and resume point on disk, with what is being made or deleted."""
    found = [*service.workspace.versions.iterdir(), *service.workspace.current_model.glob("*checkpoint-*")]
    return {path.name for path in found}


def went(service: Service) -> list[Event]:
    return facts(service, VersionRetired, VersionDeleted, CheckpointRetired, CheckpointDeleted)


FOUR = {"v0001", "v0002", "v0003", "v0004"}
SIX = {f"checkpoint-{step}" for step in (7, 14, 21, 28, 1000, 2000)}


def test_the_default_policy_leaves_a_small_history_alone(lived: Service) -> None:
    edit(lived, checkpoints_keep=6)
    retention(lived)

    assert FOUR | SIX == folders(lived)
    assert [] == went(lived)


def test_what_no_rule_keeps_is_condemned_deleted_and_told_and_the_rest_is_whole(lived: Service) -> None:
    shown = (lived.workspace.current_model / "model.safetensors").read_bytes()
    edit(lived, versions_keep={"last": 1}, checkpoints_keep=1)
    retention(lived)
    retention(lived)

    assert {"v0001", "v0004", "checkpoint-2000"} == folders(lived)
    assert [
        VersionRetired(version=version, reason="not among versions_keep = last 1")
        for version in ("v0002", "v0003")
    ] == facts(lived, VersionRetired)
    assert [VersionDeleted(version="v0002"), VersionDeleted(version="v0003")] == facts(lived, VersionDeleted)
    assert 5 == len(facts(lived, CheckpointDeleted))
    assert [] == inspect(lived.workspace, lived.state(), deep=True)
    assert shown == (lived.workspace.current_model / "model.safetensors").read_bytes()


def test_the_same_go_after_everything_was_touched_and_renamed(lived: Service, tmp_path: Path) -> None:
    edit(lived, versions_keep={"last": 2, "daily": 1, "best": 1}, checkpoints_keep=2)
    twin = opened(Path(shutil.copytree(lived.workspace.root, tmp_path / "another" / "place")))
    chance = random.Random(7)
    for place in (twin.workspace.versions, twin.workspace.current_model):
        for path in sorted(place.rglob("*")):
            moment = chance.uniform(0, 2e9)
            os.utime(path, (moment, moment))
    shutil.copytree(twin.workspace.versions / "v0001", twin.workspace.versions / "v9999")
    (twin.workspace.versions / "v0002").rename(twin.workspace.versions / "a better name")
    retention(lived)
    retention(twin)

    assert went(lived)
    assert went(lived) == went(twin)
    assert {"v9999", "a better name"} <= folders(twin)


def test_a_folder_that_is_not_the_condemned_one_stays(lived: Service) -> None:
    edit(lived, versions_keep={"last": 1})
    mine = lived.workspace.versions / "v0002"
    (mine / "manifest.json").unlink()
    (mine / "manifest.json").write_text('{"files": {}}')
    retention(lived)

    assert mine.is_dir()
    assert VersionDeleted(version="v0002") in facts(lived, VersionDeleted)


def test_one_that_cannot_be_deleted_keeps_no_other_and_goes_when_it_can(
    lived: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(lived, versions_keep={"last": 1}, checkpoints_keep=1)
    with monkeypatch.context() as held:
        refuse(held, lived.workspace.versions / ".v0002.deleting")
        with pytest.raises(PermissionError, match="v0002"):
            retention(lived)
    stuck = folders(lived)
    retention(lived)

    assert {"v0001", ".v0002.deleting", "v0004", "checkpoint-2000"} == stuck
    assert {"v0001", "v0004", "checkpoint-2000"} == folders(lived)
    assert [VersionDeleted(version="v0003"), VersionDeleted(version="v0002")] == facts(lived, VersionDeleted)


def test_versions_go_after_a_publication_and_not_at_the_next_turn_of_a_slip(lived: Service) -> None:
    job = Retention()
    job.work(lived)
    edit(lived, versions_keep={"last": 1})
    job.work(lived)
    before = folders(lived)
    drop(lived, "e.jsonl")
    take_in(lived)
    train_one(lived)
    job.work(lived)

    assert FOUR <= before
    assert {"v0001", "v0005"} == {name for name in folders(lived) if name.startswith("v")}


def test_killed_before_any_step_it_is_finished_by_the_next_turn(lived: Service, tmp_path: Path) -> None:
    edit(lived, versions_keep={"last": 1}, checkpoints_keep=1)
    lived.log.close()

    def prepare(n: int) -> Path:
        return Path(shutil.copytree(lived.workspace.root, tmp_path / str(n), copy_function=linked))

    def work(root: Path) -> None:
        retention(opened(root))

    half = 0
    for root in killed_at_every_step(prepare, work):
        service = opened(root)
        half += any(name.endswith(".deleting") for name in folders(service))
        whole = [problem.detail for problem in inspect(service.workspace, service.state(), deep=True)]
        retention(service)
        show_current(service)
        condemned = [f for f in went(service) if isinstance(f, VersionRetired | CheckpointRetired)]
        deleted = [f for f in went(service) if isinstance(f, VersionDeleted | CheckpointDeleted)]

        assert [] == whole
        assert {"v0001", "v0004", "checkpoint-2000"} == folders(service)
        assert [] == inspect(service.workspace, service.state(), deep=True)
        assert 7 == len(condemned) == len(deleted)
        service.log.close()
        shutil.rmtree(root)

    assert half > 7


def test_what_is_condemned_goes_with_no_byte_free(lived: Service, tmp_path: Path) -> None:
    edit(lived, versions_keep={"last": 1}, checkpoints_keep=1)
    lived.decide(lambda state: retire_versions(state, {"last": 1}), DEPENDS_ON)
    lived.decide(lambda state: retire_checkpoints(state, 1), DEPENDS_ON)
    with small_disk(tmp_path / "disk", 64 << 20) as disk:
        service = opened(Path(shutil.copytree(lived.workspace.root, disk / "workspace")))
        fill(disk / "filler")
        free = shutil.disk_usage(disk).free
        retention(service)
        service.log.close()

        assert 0 == free
        assert {"v0001", "v0004", "checkpoint-2000"} == folders(service)
        assert [] == list(service.workspace.versions.glob(".*"))


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path]:
    """A file system of so many bytes; skips where mounting is not permitted."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a tmpfs is not permitted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def fill(path: Path) -> None:
    """Take every byte that is left."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with suppress(OSError):
                while file.write(b"0" * size):
                    pass
