"""versions: going back, pinning, comparing and taking away, with nobody serving and with somebody."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.files import sha256_of
from core.jobs.service import Service
from core.logbook import open_log, state_at
from db.processes import RoleLock
from db.workspace import Workspace
from events.types import VersionExported
from tests.core.jobs.work import drop, rows, take_in, train_one

Run = Callable[..., Any]


@pytest.fixture(scope="session")
def lived(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files trained to three versions; only to be copied."""
    root = tmp_path_factory.mktemp("versions") / "workspace"
    shutil.copytree(made, root)
    log = open_log(Workspace(root), "daemon")
    service = Service(Workspace(root), log)
    for name in ("a.jsonl", "b.jsonl", "c.jsonl"):
        drop(service, name, rows(name))
    take_in(service)
    for _ in range(3):
        train_one(service)
    log.close()
    return root


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256_of(path) for path in folder.iterdir() if path.is_file()}


def test_a_restore_is_done_at_once_when_nobody_serves(ask: Run, run: Run, place: Workspace) -> None:
    done = ask("versions", "restore", "v0001", "--wait")
    again = run("versions", "restore", "v0001", check=3)

    assert "VersionRestored" == done["answer"]["type"]
    assert "v0001 is what the model is already" in again.stderr
    assert ["v0001"] == [row["id"] for row in ask("versions") if row["current"]]
    assert hashes(place.versions / "v0001").items() <= hashes(place.current_model).items()


def test_a_restore_waits_for_the_daemon_that_is_there(run: Run, place: Workspace) -> None:
    with RoleLock(place.locks, "daemon").acquire():
        told = run("versions", "restore", "v0001", "--wait", "--timeout", "0.3", check=3)

    assert "was not acted on within" in told.stderr


def test_a_version_is_pinned_and_unpinned(ask: Run, run: Run) -> None:
    ask("versions", "pin", "v0002")
    pinned = {row["id"]: row["pinned"] for row in ask("versions")}
    ask("versions", "unpin", "v0002")

    assert {"v0001": False, "v0002": True, "v0003": False} == pinned
    assert "v0002 is not pinned" in run("versions", "unpin", "v0002", check=3).stderr
    assert "versions list" in run("versions", "pin", "v0077", check=2).stderr


def test_show_tells_where_a_version_stands(ask: Run) -> None:
    shown = ask("versions", "show", "v0002")

    assert (["v0001"], ["v0003"]) == (shown["ancestors"], shown["children"])
    assert ["v0001", "v0002"] == [part["version"] for part in shown["made_of"]]


def test_a_difference_has_data_metrics_and_the_layers_that_moved(ask: Run, run: Run) -> None:
    found = ask("versions", "diff", "v0001", "v0003")
    moved = {row["layer"]: row["distance"] for row in found["layers"]}
    text = run("versions", "diff", "v0001", "v0003").stdout

    assert ["b.jsonl", "c.jsonl"] == [row["file"] for row in found["data"]]
    assert 1 == len([distance for distance in moved.values() if distance > 0])
    assert any(layer.endswith("layers.1") for layer in moved)
    assert "only in v0003: c.jsonl" in text


def test_an_export_is_a_whole_copy_that_shares_nothing_and_is_a_fact(
    ask: Run, place: Workspace, tmp_path: Path
) -> None:
    target = tmp_path / "elsewhere" / "model"
    told = ask("versions", "export", "current", target)
    log = open_log(place, "test")
    fact = log.newest(VersionExported)
    log.close()

    assert hashes(place.versions / "v0003") == hashes(target)
    assert {1} == {os.stat(path).st_nlink for path in target.iterdir()}
    assert ["model"] == [path.name for path in target.parent.iterdir()]
    assert fact is not None
    assert (told["id"], str(target)) == ("v0003", fact.event.to)  # type: ignore[attr-defined]


def test_an_export_into_an_empty_folder_fills_it_and_any_other_place_is_refused(
    run: Run, place: Workspace, tmp_path: Path
) -> None:
    empty, full = tmp_path / "empty", tmp_path / "full"
    empty.mkdir()
    full.mkdir()
    (full / "mine").write_text("keep")
    run("versions", "export", "v0001", empty)

    assert hashes(place.versions / "v0001") == hashes(empty)
    assert "not empty" in run("versions", "export", "v0001", full, check=3).stderr
    inside = run("versions", "export", "v0001", place.root / "models" / "mine", check=3)
    assert "lies in the workspace" in inside.stderr
    assert {"mine": "keep"} == {path.name: path.read_text() for path in full.iterdir()}


def test_a_damaged_version_is_not_exported(run: Run, place: Workspace, tmp_path: Path) -> None:
    weights = place.versions / "v0001" / "model.safetensors"
    data = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    told = run("versions", "export", "v0001", tmp_path / "out", check=4)

    assert "model.safetensors holds other bytes" in told.stderr
    assert [] == [path for path in tmp_path.iterdir() if "out" in path.name]


def test_the_model_stands_where_the_log_says_after_a_restore(ask: Run, place: Workspace) -> None:
    before = ask("status")
    ask("versions", "restore", "v0002")
    after = ask("status")
    log = open_log(place, "test")
    wanted = state_at(log).versions.versions["v0002"].global_step
    log.close()

    assert before["current_step"] > after["current_step"] == wanted
    assert "v0002" == after["current_version"]
    marker = json.loads((place.current_model / "evertrain.json").read_text())
    assert "v0002" == marker["version"]


def test_a_release_of_more_points_than_there_are_is_refused_and_says_what_to_do(
    run: Run, head: Callable[[], int]
) -> None:
    told = run("consolidate", "--average", "99", "--wait", check=3)
    before = head()
    run("consolidate", "--average", "0", check=2)

    assert "only 3 usable resume points" in told.stderr
    assert "checkpoints_keep" in told.stderr
    assert before == head()
