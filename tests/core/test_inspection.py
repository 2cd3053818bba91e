"""Inspection: one changed byte, a missing file and a stranger are found; a healthy workspace is clean."""

import ast
import json
import random
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from core.inspection import REMEDIES, inspect
from core.jobs.publish import show_current
from core.jobs.service import Service
from db.processes import RoleLock
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
        ("version_missing", "models/versions/v0001"),
        ("folder_unknown", "models/versions/v0777"),
        ("folder_unknown", "models/current_model/checkpoint-900000"),
        ("file_unknown", "queue/low/stranger.jsonl"),
    } == kinds(lived)


def test_a_file_more_in_a_version_or_resume_point_is_found_and_is_no_damage(lived: Service) -> None:
    folders = ("models/versions/v0001", "models/current_model/checkpoint-7")
    for folder in folders:
        (lived.workspace.root / folder / "adapter_config.json").write_text("{}")

    assert {("file_unknown", f"{folder}/adapter_config.json") for folder in folders} == kinds(lived)


def test_a_short_file_of_a_version_is_found_without_reading_a_byte_of_it(lived: Service) -> None:
    path = lived.workspace.versions / "v0001" / "config.json"
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(whole[:-1])

    (problem,) = inspect(lived.workspace, lived.state(), deep=False, reads=lambda path: None)

    assert ("version", "models/versions/v0001") == (problem.kind, problem.path)
    assert f"config.json has {len(whole) - 1} bytes, {len(whole)} were written" == problem.detail


def test_a_current_model_that_is_not_the_current_version_is_found(lived: Service) -> None:
    model = lived.workspace.current_model / "model.safetensors"
    change_a_byte(model)
    changed = kinds(lived, deep=True)
    model.unlink()

    assert {("current_model", "models/current_model")} == changed == kinds(lived)


def test_a_changed_and_a_missing_base_model_are_found(lived: Service) -> None:
    where = lived.workspace.relative(lived.base())
    change_a_byte(lived.base() / "tokenizer.json")
    glance, deep = kinds(lived), kinds(lived, deep=True)
    shutil.rmtree(lived.base())

    assert (set(), {("base_model", where)}) == (glance, deep)
    assert {("base_model", where)} == kinds(lived)


def test_what_is_left_from_before_the_running_process_is_found_and_its_own_work_is_not(
    lived: Service,
) -> None:
    versions, current = lived.workspace.versions, lived.workspace.current_model
    left = [versions / ".v0009.partial", current / ".checkpoint-9.deleting"]
    for path in left:
        path.mkdir()
    nobody = kinds(lived)
    with RoleLock(lived.workspace.locks, "daemon").acquire():
        time.sleep(2.5)
        child = subprocess.Popen(["sleep", "60"])  # younger than what lies there
        (versions / ".v0010.partial").mkdir()
        (current / ".checkpoint-9.partial-7").mkdir()  # a trainer's: none runs
        (lived.workspace.locks / "daemon.lock").write_text(json.dumps({"pid": child.pid}))
        found = kinds(lived)
        child.kill()
        child.wait()

    assert set() == nobody
    assert {("leftover", lived.workspace.relative(path)) for path in left} == found


def test_every_kind_of_problem_has_a_remedy() -> None:
    root = Path(__file__).parents[2]
    said = set()
    for path in (*root.glob("core/**/*.py"), root / "events" / "verify.py"):
        text = path.read_text(encoding="utf-8")
        if "import Problem" in text or path.name == "verify.py":
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "Problem":
                    said.add(ast.unparse(node.args[0]))
    named = {kind.strip("'") for kind in said if kind.startswith("'")}

    assert len(named) > 10
    assert named <= REMEDIES.keys()
    assert all(REMEDIES.values())
