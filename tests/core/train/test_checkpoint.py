"""Resume points: whole or not there, verified byte by byte, back in memory bit by bit."""

import errno
import json
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from core.inspection import folder_problems
from core.train import checkpoint, moments
from core.train.refusals import CheckpointDamaged
from tests.core.train.stand import VOCABULARY, tiny_network


def stepped(seed: int = 0) -> tuple[Any, torch.optim.Optimizer]:
    """A model that has taken a step, so it has moments."""
    network = tiny_network(seed)
    optimizer = moments.adamw(network)
    ids = torch.randint(0, VOCABULARY, (2, 20))
    network(input_ids=ids, labels=ids).loss.backward()
    optimizer.param_groups[0]["lr"] = 1e-2
    optimizer.step()
    optimizer.zero_grad()
    return network, optimizer


def state(network: Any, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {**checkpoint.weights(network), **moments.read(network, optimizer)}


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, checkpoint.Saved]:
    folder = tmp_path / "checkpoint-1"
    return folder, checkpoint.write(folder, *stepped(), {"run": "r1", "step": 1})


def test_what_was_saved_comes_back_bit_by_bit(tmp_path: Path) -> None:
    first, second = stepped(), stepped(seed=9)
    saved = checkpoint.write(tmp_path / "checkpoint-1", *first, {"step": 1})
    checkpoint.load(tmp_path / "checkpoint-1", *second)
    again = checkpoint.write(tmp_path / "checkpoint-2", *second, {"step": 1})

    ours, theirs = state(*first), state(*second)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert (saved.weights_sha256, saved.moments_sha256) == (again.weights_sha256, again.moments_sha256)
    assert saved.manifest_sha256 == again.manifest_sha256


def test_loading_keeps_the_tensors_that_torch_allocated(written: tuple[Path, checkpoint.Saved]) -> None:
    network, optimizer = stepped(seed=9)
    before = {name: tensor.data_ptr() for name, tensor in checkpoint.weights(network).items()}
    checkpoint.load(written[0], network, optimizer)

    assert before == {name: tensor.data_ptr() for name, tensor in checkpoint.weights(network).items()}
    assert all(tensor.data_ptr() % 64 == 0 for tensor in moments.read(network, optimizer).values())


def test_a_point_before_the_first_step_brings_empty_moments_back(tmp_path: Path) -> None:
    fresh = tiny_network()
    checkpoint.write(tmp_path / "checkpoint-0", fresh, moments.adamw(fresh), {"step": 0})
    network, optimizer = stepped(seed=9)
    checkpoint.load(tmp_path / "checkpoint-0", network, optimizer)

    assert {} == moments.read(network, optimizer)


def test_a_resume_point_is_a_model_that_loads_anywhere(written: tuple[Path, checkpoint.Saved]) -> None:
    loaded = AutoModelForCausalLM.from_pretrained(written[0])

    assert torch.float32 == loaded.dtype
    assert "lm_head.weight" not in checkpoint.weights(loaded)
    assert checkpoint.weights(loaded).keys() == checkpoint.weights(tiny_network()).keys()
    assert not [path for path in written[0].iterdir() if path.suffix in (".bin", ".pt", ".pth", ".pkl")]


def test_an_intact_resume_point_has_no_problems(written: tuple[Path, checkpoint.Saved]) -> None:
    folder, saved = written

    assert [] == folder_problems(folder, saved.manifest_sha256)
    assert saved.size_bytes == sum(path.stat().st_size for path in folder.iterdir())


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "config.json"])
def test_each_missing_changed_or_cut_file_is_found(written: tuple[Path, checkpoint.Saved], name: str) -> None:
    folder, saved = written
    content = (folder / name).read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]

    for damage in (flipped, content[:-1], content + b"\0"):
        (folder / name).write_bytes(damage)
        assert [name] == [problem.split()[0] for problem in folder_problems(folder, saved.manifest_sha256)]
    (folder / name).unlink()
    assert [name] == [problem.split()[0] for problem in folder_problems(folder, saved.manifest_sha256)]


def test_only_the_manifest_that_the_log_knows_counts(written: tuple[Path, checkpoint.Saved]) -> None:
    folder, saved = written
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest))

    assert ["manifest.json is not the one the log knows"] == folder_problems(folder, saved.manifest_sha256)
    (folder / "manifest.json").unlink()
    assert folder_problems(folder, saved.manifest_sha256)
    assert folder_problems(folder.with_name("checkpoint-2"), saved.manifest_sha256)


def test_the_point_of_another_model_is_refused(written: tuple[Path, checkpoint.Saved]) -> None:
    network = tiny_network()
    network.model.layers = network.model.layers[:1]

    with pytest.raises(CheckpointDamaged, match="was the base model exchanged"):
        checkpoint.load(written[0], network, moments.adamw(network))


def test_moments_that_miss_a_parameter_are_refused(tmp_path: Path) -> None:
    network, optimizer = stepped()
    optimizer.state.pop(next(iter(network.parameters())))
    checkpoint.write(tmp_path / "checkpoint-1", network, optimizer, {})

    with pytest.raises(CheckpointDamaged, match="moments of other parameters"):
        checkpoint.load(tmp_path / "checkpoint-1", *stepped())


def test_a_save_on_a_full_disk_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    network, optimizer = stepped()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        # no file may grow past 10,000 bytes: to a writer the same as a disk without room
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        with pytest.raises(OSError) as raised:
            checkpoint.write(tmp_path / "checkpoint-1", network, optimizer, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)

    assert errno.EFBIG == raised.value.errno
    assert [] == list(tmp_path.iterdir())


def test_what_killed_saves_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint-7.partial-123").mkdir()
    (tmp_path / ".checkpoint-7.partial-123" / "model.safetensors").write_bytes(b"half")
    (tmp_path / "checkpoint-6").mkdir()

    assert 1 == checkpoint.sweep(tmp_path)
    assert [tmp_path / "checkpoint-6"] == list(tmp_path.iterdir())


def test_what_stands_in_the_way_is_moved_aside_never_over_another(tmp_path: Path) -> None:
    folder, aside = tmp_path / "checkpoint-1", tmp_path / "aside"
    places = []
    for content in ("one", "two"):
        folder.mkdir()
        (folder / "note").write_text(content)
        places.append(checkpoint.move_aside(folder, aside))

    assert None is checkpoint.move_aside(folder, aside)
    assert ["one", "two"] == [(place / "note").read_text() for place in places if place is not None]
