"""Reconcile: what a hand does to the folders is told once with a remedy, and cleared when it is put back."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.inspection import inspect
from core.jobs.reconcile import NEVER, hour_of, reconcile
from core.jobs.retention import retention
from core.jobs.service import Service
from core.jobs.validate import Interrupted
from core.logbook import open_log
from db.workspace import Workspace
from events.types import CheckpointQuarantined, DriftCleared, DriftFound
from projections.health import Drift
from tests.core.jobs.work import drop, facts, resume_point, take_in, train_one

VERSION, POINT = "models/versions/v0001", "models/current_model/checkpoint-7"


def opened(root: Path) -> Service:
    return Service(Workspace(root), open_log(Workspace(root), "daemon"))


@pytest.fixture(scope="module")
def long_lived(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained file with its version, another resume point, a waiting file and a rejected one."""
    root = tmp_path_factory.mktemp("long") / "workspace"
    shutil.copytree(made, root)
    service = opened(root)
    drop(service, "a.jsonl")
    take_in(service)
    train_one(service)
    resume_point(service, "r", 8)
    drop(service, "bad.jsonl", "no json\n")
    drop(service, "c.jsonl")
    take_in(service)
    service.log.close()
    return root


@pytest.fixture
def lived(long_lived: Path, tmp_path: Path) -> Iterator[Service]:
    shutil.copytree(long_lived, tmp_path / "lived")
    service = opened(tmp_path / "lived")
    yield service
    service.log.close()


def flip(path: Path) -> None:
    """One bit, in a file of its own; never through a hard link."""
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.unlink()
    path.write_bytes(raw)


def whole_day(service: Service) -> None:
    """A look in each hour."""
    for hour in range(24):
        reconcile(service, settle=0, hour=hour)


def open_drifts(service: Service) -> set[tuple[str, str]]:
    return {(drift.kind, drift.path) for drift in service.state().health.drifts}


def put_back(service: Service, whole: Path) -> None:
    for name in ("models", "queue"):
        shutil.rmtree(service.workspace.root / name)
        shutil.copytree(whole / name, service.workspace.root / name)


HANDS: dict[str, tuple[Callable[[Path], object], set[tuple[str, str]]]] = {
    "version deleted": (
        lambda root: shutil.rmtree(root / VERSION),
        {("version_missing", VERSION)},
    ),
    "version renamed": (
        lambda root: (root / VERSION).rename(root / "models/versions/best"),
        {("version_missing", VERSION), ("folder_unknown", "models/versions/best")},
    ),
    "version copied": (
        lambda root: shutil.copytree(root / VERSION, root / "models/versions/v0002"),
        {("folder_unknown", "models/versions/v0002")},
    ),
    "version flipped": (
        lambda root: flip(root / VERSION / "model.safetensors"),
        {("version", VERSION)},
    ),
    "version's manifest flipped": (
        lambda root: flip(root / VERSION / "manifest.json"),
        {("version", VERSION)},
    ),
    "resume point deleted": (
        lambda root: shutil.rmtree(root / POINT),
        {("checkpoint_missing", POINT)},
    ),
    "resume point copied": (
        lambda root: shutil.copytree(root / POINT, root / "models/current_model/checkpoint-90000"),
        {("folder_unknown", "models/current_model/checkpoint-90000")},
    ),
    "waiting file deleted": (
        lambda root: (root / "queue/normal/c.jsonl").unlink(),
        {("file_missing", "queue/normal/c.jsonl")},
    ),
    "waiting file flipped": (
        lambda root: flip(root / "queue/normal/c.jsonl"),
        {("file_changed", "queue/normal/c.jsonl")},
    ),
    "trained file renamed": (
        lambda root: (root / "queue/recently_completed/a.jsonl").rename(root / "queue/failed/z.jsonl"),
        {("file_missing", "queue/recently_completed/a.jsonl"), ("file_unknown", "queue/failed/z.jsonl")},
    ),
    "current model flipped": (
        lambda root: flip(root / "models/current_model/model.safetensors"),
        {("current_model", "models/current_model")},
    ),
    "current model emptied": (
        lambda root: (root / "models/current_model/tokenizer.json").unlink(),
        {("current_model", "models/current_model")},
    ),
    "base model flipped": (
        lambda root: flip(root / "models/tiny/config.json"),
        {("base_model", "models/tiny")},
    ),
    "base model deleted": (
        lambda root: shutil.rmtree(root / "models/tiny"),
        {("base_model", "models/tiny")},
    ),
}


@pytest.mark.parametrize("hand", HANDS)
def test_what_a_hand_does_is_named_told_once_and_cleared_when_put_back(
    lived: Service, long_lived: Path, hand: str
) -> None:
    act, expected = HANDS[hand]
    act(lived.workspace.root)
    named = {(p.kind, p.path) for p in inspect(lived.workspace, lived.state(), deep=True)}
    whole_day(lived)
    told = [fact for fact in facts(lived, DriftFound) if isinstance(fact, DriftFound)]
    opened, alert = open_drifts(lived), lived.state().health.alerts["drift"]
    head = lived.log.head()
    whole_day(lived)
    after = lived.log.head()
    put_back(lived, long_lived)
    reconcile(lived, settle=0, hour=0)

    assert expected == named == opened
    assert len(expected) == len(told)
    assert all(fact.detail and fact.remedy for fact in told)
    assert any(fact.remedy in alert.detail for fact in told)
    assert head == after
    assert set() == open_drifts(lived)
    assert "drift" not in lived.state().health.alerts
    assert len(expected) == len(facts(lived, DriftCleared))


def test_a_healthy_workspace_is_no_news(lived: Service) -> None:
    head = lived.log.head()
    whole_day(lived)

    assert head == lived.log.head()


def test_every_byte_is_read_in_its_hour_of_the_day(lived: Service) -> None:
    flip(lived.workspace.root / VERSION / "model.safetensors")
    seen = []
    for hour in range(24):
        reconcile(lived, settle=0, hour=hour)
        if ("version", VERSION) in open_drifts(lived):
            seen.append(hour)

    assert list(range(hour_of(VERSION), 24)) == seen


def test_a_damaged_resume_point_is_set_aside_and_cleared_once_it_is_deleted(lived: Service) -> None:
    flip(lived.workspace.root / POINT / "model.safetensors")
    whole_day(lived)
    whole_day(lived)
    during = open_drifts(lived)
    for step in (100, 101, 102):
        resume_point(lived, "r", step)
    retention(lived)
    reconcile(lived, settle=0)

    assert {("checkpoint", POINT)} == during
    assert [POINT] == [
        f.path for f in facts(lived, CheckpointQuarantined) if isinstance(f, CheckpointQuarantined)
    ]
    assert not (lived.workspace.root / POINT).exists()
    assert set() == open_drifts(lived)


def test_what_another_job_was_about_to_take_in_is_not_told(lived: Service) -> None:
    stranger = lived.workspace.queue / "low" / "new.jsonl"
    stranger.write_text("x")
    taken = threading.Timer(0.2, stranger.unlink)
    taken.start()
    reconcile(lived, settle=2.0)
    taken.join()

    assert [] == facts(lived, DriftFound)


def test_a_service_that_stops_says_nothing_and_reads_no_further(lived: Service) -> None:
    shutil.rmtree(lived.workspace.root / POINT)
    lived.stop.set()
    reconcile(lived, hour=NEVER)
    with pytest.raises(Interrupted):
        reconcile(lived, hour=hour_of(VERSION))

    assert [] == facts(lived, DriftFound)


def test_what_other_jobs_told_is_cleared_once_disk_and_log_agree(lived: Service) -> None:
    lived.log.append(DriftFound(kind="foreign_version", path=VERSION, detail="a stranger", remedy="look"))
    during = lived.state().health.drifts
    reconcile(lived, settle=0)

    assert [Drift(lived.log.head() - 1, "foreign_version", VERSION, "a stranger", "look")] == list(during)
    assert [DriftCleared(kind="foreign_version", path=VERSION)] == facts(lived, DriftCleared)
