"""The mean of resume points, compared with one computed by numpy alone; and that it loads."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from core.model.consolidation import ConsolidationRefused, consolidate


def point(folder: Path, base: Path, seed: int, dtype: torch.dtype = torch.float32) -> Path:
    """A folder with the base's shapes and random weights."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(seed)
    shapes = {name: tensor.shape for name, tensor in load_file(base / "model.safetensors").items()}
    weights = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    for name in ("config.json", "generation_config.json"):
        (folder / name).write_bytes((base / name).read_bytes())
    return folder


def in_bf16(values: np.ndarray) -> np.ndarray:
    """fp32 rounded to the nearest bf16, ties to even, by arithmetic on the bits; given as its upper half."""
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def bits(tensor: torch.Tensor) -> np.ndarray:
    return tensor.view(torch.int16).numpy().view(np.uint16)


@pytest.mark.parametrize("average", [1, 3])
def test_a_release_is_the_mean_in_fp32_rounded_once(tmp_path: Path, demo_base: Path, average: int) -> None:
    sources = [point(tmp_path / f"checkpoint-{n}", demo_base, n) for n in range(average)]
    (tmp_path / "out").mkdir()
    consolidate(sources, tmp_path / "out")
    made = load_file(tmp_path / "out" / "model.safetensors")
    read = [load_file(source / "model.safetensors") for source in sources]

    assert read[0].keys() == made.keys()
    for name, tensor in made.items():
        total = read[0][name].numpy().copy()
        for other in read[1:]:
            total += other[name].numpy()
        assert np.array_equal(in_bf16(total / np.float32(average)), bits(tensor)), name
        exact = np.mean([each[name].double().numpy() for each in read], axis=0)
        assert np.allclose(exact, tensor.double().numpy(), rtol=2**-8, atol=1e-6)


def test_a_release_loads_in_bf16_with_its_head_tied(tmp_path: Path, demo_base: Path) -> None:
    sources = [point(tmp_path / f"checkpoint-{n}", demo_base, n) for n in range(2)]
    (tmp_path / "out").mkdir()
    consolidate(sources, tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")

    assert {torch.bfloat16} == {parameter.dtype for parameter in model.parameters()}
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert torch.isfinite(model(torch.tensor([[1, 2, 3]])).logits).all()


def test_points_of_different_models_or_with_numbers_too_large_are_refused(
    tmp_path: Path, demo_base: Path
) -> None:
    one, other, large = (point(tmp_path / name, demo_base, 1) for name in ("one", "other", "large"))
    weights = load_file(other / "model.safetensors")
    first = next(iter(weights))
    save_file({f"another.{first}": weights[first]}, other / "model.safetensors")
    weights[first][:] = torch.finfo(torch.float32).max  # rounds to infinity in bf16
    save_file(weights, large / "model.safetensors")
    (tmp_path / "out").mkdir()

    with pytest.raises(ConsolidationRefused, match="other holds other parameters than one"):
        consolidate([one, other], tmp_path / "out")
    with pytest.raises(ConsolidationRefused, match="not finite"):
        consolidate([large], tmp_path / "out")
