"""Inspection: one changed byte, a missing file and a stranger are found; a healthy workspace is clean."""

import random
import shutil
from pathlib import Path

import pytest

from core.inspection import inspect
from core.jobs.publish import show_current
from core.jobs.service import Service
from tests.core.jobs.work import drop, rows, take_in, train_one


@pytest.fixture
def lived(service: Service) -> Service:
    """A trained file with its version, a waiting one, a rejected one and a duplicate."""
    drop(service, "a.jsonl", rows("same"))
    take_in(service)
    train_one(service)
    drop(service, "b.jsonl", rows("same"))
    drop(service, "bad.jsonl", "no json\n")
    drop(service, "c.jsonl")
    take_in(service)
    return service


def kinds(service: Service, deep: bool = False) -> set[tuple[str, str | None]]:
    return {(p.kind, p.path) for p in inspect(service.workspace, service.state(), deep=deep)}


def change_a_byte(path: Path) -> None:
    """The same size, another content; never through a hard link."""
    raw = bytearray(path.read_bytes())
    raw[random.Random(len(raw)).randrange(len(raw))] ^= 1
    path.unlink()
    path.write_bytes(raw)


def test_a_healthy_workspace_is_clean(lived: Service) -> None:
    assert set() == kinds(lived, deep=True)


@pytest.mark.parametrize(
    "path",
    [
        "queue/normal/c.jsonl",
        "queue/recently_completed/a.jsonl",
        "queue/failed/bad.jsonl",
        "queue/failed/b.jsonl",
    ],
)
def test_one_changed_byte_in_a_file_is_found_by_a_deep_look(lived: Service, path: str) -> None:
    change_a_byte(lived.workspace.root / path)

    assert set() == kinds(lived)
    assert {("file_changed", path)} == kinds(lived, deep=True)


@pytest.mark.parametrize("path", ["queue/normal/c.jsonl", "queue/failed/b.jsonl"])
def test_a_missing_and_a_short_file_are_found_at_a_glance(lived: Service, path: str) -> None:
    whole = lived.workspace.root / path
    whole.write_text("short")
    short = kinds(lived)
    whole.unlink()

    assert {("file_changed", path)} == short
    assert {("file_missing", path)} == kinds(lived)


def test_one_changed_byte_in_any_file_of_a_version_or_resume_point_is_found(lived: Service) -> None:
    folders = {"version": "models/versions/v0001", "checkpoint": "models/current_model/checkpoint-7"}
    for kind, folder in folders.items():
        for path in sorted((lived.workspace.root / folder).iterdir()):
            whole = path.read_bytes()
            change_a_byte(path)
            assert {(kind, folder)} == kinds(lived), path.name
            path.write_bytes(whole)
    show_current(lived)
    assert set() == kinds(lived)


def test_a_missing_version_and_strangers_are_found(lived: Service) -> None:
    workspace = lived.workspace
    shutil.rmtree(workspace.versions / "v0001")
    (workspace.versions / "v0777").mkdir()
    (workspace.current_model / "checkpoint-900000").mkdir()
    (workspace.queue / "low" / "stranger.jsonl").write_text("x")

    assert {
        ("version", "models/versions/v0001"),
        ("folder_unknown", "models/versions/v0777"),
        ("folder_unknown", "models/current_model/checkpoint-900000"),
        ("file_unknown", "queue/low/stranger.jsonl"),
    } == kinds(lived)
