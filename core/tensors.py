"""Safetensors files read with numpy alone and piece by piece: no torch, and no tensor whole in memory.

The format: eight bytes little-endian n, n bytes of JSON {name: {dtype, shape, data_offsets}}, then the bytes
(https://github.com/huggingface/safetensors#format). Offsets count from the end of the JSON.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from events.heartbeat import moved

PIECE = 1 << 20  # elements read at a time
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
    "I8": "<i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "<u1",
}  # fmt: skip
LAYER = re.compile(r"^(?:.*\.)?(?:layers|h|blocks)\.\d+(?=\.)")


class TensorsUnreadable(ValueError):
    """This is no safetensors file, or it holds a type that is not known: what, and where."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Where one tensor lies in its file."""

    name: str
    dtype: str  # as the file says: F32, BF16 …
    shape: tuple[int, ...]
    begin: int  # byte of the file
    size: int  # elements


def tensors(path: Path) -> dict[str, Stored]:
    """What a file holds, by name. Raises TensorsUnreadable, OSError."""
    found = {}
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 0 < length <= path.stat().st_size - 8:
                raise ValueError(f"a header of {length} bytes")
            header: dict[str, Any] = json.loads(file.read(length))
        header.pop("__metadata__", None)
        for name, entry in header.items():
            begin, end = entry["data_offsets"]
            size = math.prod(entry["shape"])
            if size * np.dtype(DTYPES[entry["dtype"]]).itemsize != end - begin:
                raise ValueError(f"{name} does not fill its place")
            found[name] = Stored(name, entry["dtype"], tuple(entry["shape"]), 8 + length + begin, size)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TensorsUnreadable(f"{path.name} is no readable safetensors file: {error}") from error
    return found


def pieces(path: Path, stored: Stored) -> Iterator[NDArray[Any]]:
    """The tensor's elements in order, flat; bf16 as fp32. Raises TensorsUnreadable: the file ends early."""
    dtype = np.dtype(DTYPES[stored.dtype])
    with path.open("rb") as file:
        file.seek(stored.begin)
        for start in range(0, stored.size, PIECE):
            wanted = min(PIECE, stored.size - start)
            piece = np.frombuffer(file.read(wanted * dtype.itemsize), dtype)
            if len(piece) != wanted:
                raise TensorsUnreadable(f"{path.name} ends inside {stored.name}")
            moved()
            yield (piece.astype("<u4") << 16).view("<f4") if stored.dtype == "BF16" else piece


def nonfinite(path: Path) -> list[str]:
    """The tensors that hold a NaN or an infinity, by name."""
    return [
        stored.name
        for stored in tensors(path).values()
        if not all(bool(np.isfinite(piece).all()) for piece in pieces(path, stored))
    ]


def distances(a: Path, b: Path) -> list[dict[str, Any]]:
    """How far `b` is from `a`: ‖b − a‖ / ‖a‖ (Euclidean), layer by layer, in the order of the file.

    [{layer, distance, tensors: {name: distance}}]; null where only one has the tensor, or in another shape,
    and where `a` is all zeros. What is in no layer stands for itself.
    """
    left, right = tensors(a), tensors(b)
    layers: dict[str, dict[str, tuple[float, float] | None]] = {}
    for name in sorted(left.keys() | right.keys(), key=_numbers):
        match = LAYER.match(name)
        layer = match.group() if match else name.removesuffix(".weight")
        pair = left.get(name), right.get(name)
        layers.setdefault(layer, {})[name] = (
            _squares(a, pair[0], b, pair[1])
            if pair[0] is not None and pair[1] is not None and pair[0].shape == pair[1].shape
            else None
        )
    return [
        {
            "layer": layer,
            "distance": _relative([sums for sums in found.values() if sums is not None]),
            "tensors": {name: _relative([sums] if sums else []) for name, sums in found.items()},
        }
        for layer, found in layers.items()
    ]


def _numbers(name: str) -> list[tuple[int, str]]:
    """A key that sorts layer 9 before layer 10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name)]


def _squares(a: Path, in_a: Stored, b: Path, in_b: Stored) -> tuple[float, float]:
    """Σ(b − a)² and Σa², in fp64."""
    difference = norm = 0.0
    for first, second in zip(pieces(a, in_a), pieces(b, in_b), strict=True):
        base = first.astype(np.float64)
        change = second.astype(np.float64) - base
        difference += float(change @ change)
        norm += float(base @ base)
    return difference, norm


def _relative(sums: list[tuple[float, float]]) -> float | None:
    norm = math.fsum(norm for _, norm in sums)
    return math.sqrt(math.fsum(change for change, _ in sums) / norm) if norm else None
