"""The bytes of a state: as safetensors writes them, and of one instant while training goes on."""

import hashlib
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from core.inspection import folder_problems
from core.train import checkpoint, moments, snapshot
from core.train.snapshot import DTYPES, Buffer, Image, Snapshot, image
from tests.core.train.stand import tiny_network
from tests.sweep import killed_at_every_step

CPU = torch.device("cpu")


def content(made: Image) -> bytes:
    return b"".join(made.pieces())


def test_a_file_is_byte_for_byte_what_safetensors_writes() -> None:
    tensors = {f"b.{dtype}": torch.arange(7).to(dtype) for dtype in DTYPES}
    tensors |= {"a": torch.tensor(3.5), "ä \"q\"": torch.zeros(2, 0, 3), "t": torch.rand(3, 5).t()}

    expected = save({name: tensor.contiguous() for name, tensor in tensors.items()}, {"format": "pt"})
    assert expected == content(image(tensors))
    assert len(expected) == image(tensors).size
    assert hashlib.sha256(expected).hexdigest() == image(tensors).sha256()
    assert save({}, {"format": "pt"}) == content(image({}))


def test_pieces_are_small_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = image({"a": torch.rand(1000), "b": torch.rand(3)})
    expected = content(whole)
    monkeypatch.setattr(snapshot, "PIECE", 64)

    assert 64 >= max(len(piece) for piece in list(whole.pieces())[1:])
    assert expected == content(whole)


def test_a_copy_stays_what_it_was_and_the_buffer_serves_again() -> None:
    tensors = {"a": torch.rand(5), "b": torch.rand(2, 3).bfloat16()}
    live = {"one": image(tensors), "two": image({"c": torch.tensor(True)})}
    buffer = Buffer(sum(each.body for each in live.values()), CPU)
    for _ in range(2):
        before = {name: content(each) for name, each in live.items()}
        copies = Snapshot(buffer).take(live)
        tensors["a"] += 1
        tensors["b"] *= 2

        assert before == {name: content(each) for name, each in copies.items()}
        assert before["one"] != content(live["one"])


def test_a_copy_that_would_not_fit_is_refused_before_it_is_taken() -> None:
    with pytest.raises(MemoryError, match="are free"):
        Buffer(1 << 60, CPU)


def test_killed_anywhere_a_resume_point_is_whole_or_not_there(tmp_path: Path) -> None:
    network = tiny_network()
    optimizer = moments.adamw(network)
    kept = checkpoint.write(tmp_path / "kept", network, optimizer, {"step": 1})
    seen: list[bool] = []

    def prepare(trial: int) -> Path:
        root = tmp_path / f"{trial}"
        root.mkdir()
        return root

    def work(root: Path) -> None:
        checkpoint.write(root / "checkpoint-1", network, optimizer, {"step": 1})

    for root in killed_at_every_step(prepare, work):
        folder = root / "checkpoint-1"
        seen.append(folder.exists())
        if folder.exists():
            assert [] == folder_problems(folder, kept.manifest_sha256)
        checkpoint.sweep(root)
        assert [folder.name] * seen[-1] == os.listdir(root)
        shutil.rmtree(root)

    assert {False, True} == set(seen)
    assert seen == sorted(seen)
