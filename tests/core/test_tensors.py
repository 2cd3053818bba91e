"""Safetensors read with numpy: the values that were written, NaN found, distances as computed by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from core.tensors import PIECE, TensorsUnreadable, distances, nonfinite, pieces, tensors


def values(path: Path, name: str) -> np.ndarray:
    return np.concatenate(list(pieces(path, tensors(path)[name])))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64])
def test_every_type_is_read_as_it_was_written(tmp_path: Path, dtype: torch.dtype) -> None:
    written = (torch.arange(-7, 8).reshape(3, 5) / (1 if dtype == torch.int64 else 3)).to(dtype)
    save_file({"a": torch.ones(2), "b": written}, tmp_path / "x.safetensors")
    found = tensors(tmp_path / "x.safetensors")["b"]

    assert (3, 5) == found.shape
    assert written.double().flatten().tolist() == values(tmp_path / "x.safetensors", "b").tolist()


def test_a_tensor_of_several_pieces_is_whole(tmp_path: Path) -> None:
    written = torch.arange(2 * PIECE + 3, dtype=torch.float32)
    save_file({"a": written}, tmp_path / "x.safetensors")

    assert np.array_equal(written.numpy(), values(tmp_path / "x.safetensors", "a"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_found(tmp_path: Path, dtype: torch.dtype, bad: float) -> None:
    good, spoilt = torch.ones(9, dtype=dtype), torch.ones(9, dtype=dtype)
    spoilt[-1] = bad
    save_file({"good": good, "spoilt": spoilt}, tmp_path / "x.safetensors")

    assert ["spoilt"] == nonfinite(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "data", [b"", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0[]", b"\x09\0\0\0\0\0\0\0" + b'{"a": {}}']
)
def test_what_is_no_such_file_is_told(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(data)

    with pytest.raises(TensorsUnreadable, match=r"x\.safetensors"):
        tensors(tmp_path / "x.safetensors")


def test_a_file_cut_short_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(100)}, path)
    path.write_bytes(path.read_bytes()[:-4])

    with pytest.raises(TensorsUnreadable, match="ends inside a"):
        nonfinite(path)


def test_distances_are_relative_and_go_layer_by_layer_also_between_types(tmp_path: Path) -> None:
    first = {
        "model.embed.weight": torch.tensor([3.0, 4.0]),
        "model.layers.2.up.weight": torch.tensor([1.0, 0.0]),
        "model.layers.2.down.weight": torch.tensor([0.0, 2.0]),
        "model.layers.10.up.weight": torch.tensor([1.0]),
        "gone.weight": torch.ones(2),
    }
    second = {name: tensor.clone() for name, tensor in first.items() if name != "gone.weight"}
    second["model.embed.weight"] = torch.tensor([3.0, 9.0], dtype=torch.bfloat16)
    second["model.layers.2.up.weight"] = torch.tensor([1.0, 1.0])
    save_file(first, tmp_path / "a.safetensors")
    save_file(second, tmp_path / "b.safetensors")
    found = {row["layer"]: row for row in distances(tmp_path / "a.safetensors", tmp_path / "b.safetensors")}

    assert ["gone", "model.embed", "model.layers.2", "model.layers.10"] == list(found)
    assert found["gone"]["distance"] is None
    assert 1.0 == found["model.embed"]["distance"]
    assert pytest.approx((1 / 5) ** 0.5) == found["model.layers.2"]["distance"]
    assert {"model.layers.2.down.weight": 0.0, "model.layers.2.up.weight": 1.0} == (
        found["model.layers.2"]["tensors"]
    )
    assert 0.0 == found["model.layers.10"]["distance"]
