"""Usage: each byte of the disk counted once, for the kind that keeps it."""

import os
from pathlib import Path

from db.usage import measure, removable_bytes
from db.workspace import Workspace

BLOCK = 4096


def put(path: Path, blocks: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes([7]) * blocks * BLOCK)
    return path


def lived(root: Path) -> Workspace:
    place = Workspace(root)
    place.lay_out()
    weights = put(place.current_model / "checkpoint-7" / "model.safetensors", 40)
    put(place.current_model / "checkpoint-7" / "optimizer.safetensors", 80)
    for folder in (place.versions / "v0001", place.current_model):
        folder.mkdir(exist_ok=True)
        os.link(weights, folder / weights.name)
    put(place.log, 3)
    put(place.root / "evertrain.sqlite-wal", 2)
    put(place.tokens / "key" / "ids.bin", 5)
    put(place.queue / "low" / "a.jsonl", 6)
    put(place.inbox / "b.jsonl", 1)
    put(place.logs / "daemon_20260101.log", 9)
    put(place.backups / "objects" / "one", 11)
    put(place.models / "tiny" / "model.safetensors", 40)
    put(place.temporary / "half", 4)
    (place.models / "link").symlink_to(put(root.parent / "elsewhere", 1000))
    return place


def test_shared_weights_count_once_for_the_version_and_links_out_not_at_all(tmp_path: Path) -> None:
    found = measure(lived(tmp_path / "workspace"))

    blocks = {kind: size / BLOCK for kind, size in found.items()}
    assert {
        "log": 5, "checkpoints": 80, "versions": 40, "backups": 11, "tokens": 5, "files": 7, "logs": 9,
        "base": 40, "other": 4,
    } == blocks  # fmt: skip


def test_only_what_has_no_other_name_is_given_back(tmp_path: Path) -> None:
    place = lived(tmp_path / "workspace")
    point = place.current_model / "checkpoint-7"
    os.link(point / "optimizer.safetensors", point / "twice.safetensors")

    assert 80 * BLOCK == removable_bytes(point)  # both names of the moments lie inside it
    assert 0 == removable_bytes(place.versions / "v0001")
    assert 9 * BLOCK == removable_bytes(place.logs / "daemon_20260101.log")
    assert 0 == removable_bytes(place.root / "nothing")


def test_an_empty_folder_has_no_bytes(tmp_path: Path) -> None:
    assert {0} == set(measure(Workspace(tmp_path / "workspace")).values())
