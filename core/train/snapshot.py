"""The state of one instant as the bytes of its files: the live tensors themselves, or their copy in a buffer.

Weights and moments change only inside `optimizer.step()`. So a copy that begins between two steps may run
beside the next forward and backward pass, and is of one instant if the optimizer waits for its end (as in
CheckFreq, Mohan et al., FAST 2021). The layout is that of safetensors, byte for byte as its own writer has
it: https://github.com/huggingface/safetensors#format
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core import ram
from events.heartbeat import moved

PIECE = 2 << 20  # bytes hashed and written at a time: a processor's cache holds them
SPARE = 1.1  # times the buffer's size must be free to take it: what is short later, the kernel kills for
#: In the order in which tensors lie in a file: wide ones first, so that all are aligned; equal ones by name.
DTYPES = {
    torch.uint64: "U64", torch.int64: "I64", torch.float64: "F64", torch.complex64: "C64",
    torch.float32: "F32", torch.uint32: "U32", torch.int32: "I32", torch.bfloat16: "BF16",
    torch.float16: "F16", torch.uint16: "U16", torch.int16: "I16", torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
WIDEST_FIRST = {dtype: place for place, dtype in enumerate(DTYPES)}


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """A file to be: its header, and the flat bytes of its tensors in their order, on whatever device."""

    header: bytes
    parts: tuple[Tensor, ...]  # uint8, one dimension

    @property
    def size(self) -> int:
        return len(self.header) + self.body

    @property
    def body(self) -> int:
        """Bytes without the header."""
        return sum(part.numel() for part in self.parts)

    def pieces(self) -> Iterator[memoryview]:
        """The file from its first byte to its last, at most `PIECE` at a time."""
        yield memoryview(self.header)
        for part in self.parts:
            for begin in range(0, part.numel(), PIECE):
                yield part[begin : begin + PIECE].cpu().numpy().data

    def sha256(self) -> str:
        """The hash of the file."""
        digest = hashlib.sha256()
        for piece in self.pieces():
            digest.update(piece)
            moved()
        return digest.hexdigest()


def image(tensors: Mapping[str, Tensor]) -> Image:
    """These tensors, live, as a safetensors file. Raises KeyError for a type that the format has not."""
    names = sorted(tensors, key=lambda name: (WIDEST_FIRST[tensors[name].dtype], name))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    parts, begin = [], 0
    for name in names:
        tensor = tensors[name].detach().contiguous()
        parts.append(tensor.reshape(-1).view(torch.uint8))
        end = begin + parts[-1].numel()
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return Image(len(text).to_bytes(8, "little") + text, tuple(parts))


class Buffer:
    """Main memory for one whole state, taken once; page-locked where the state lies on a GPU."""

    def __init__(self, size: int, device: torch.device) -> None:
        """Raises MemoryError when so much is not to be had."""
        free = ram.available()
        if free < SPARE * size:
            raise MemoryError(f"{size} bytes for a copy of weights and moments, {free} are free")
        try:
            self._bytes = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
        except RuntimeError as error:  # what torch's allocators raise
            raise MemoryError(f"{size} bytes for a copy of weights and moments: {error}") from error
        self._stream: Any = None
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class Snapshot:
    """The instant at which this is made, between two steps; nothing is copied yet."""

    def __init__(self, buffer: Buffer) -> None:
        stream = buffer._stream
        self._buffer = buffer
        self._ready = None if stream is None else torch.cuda.current_stream(stream.device).record_event()

    def take(self, images: Mapping[str, Image]) -> dict[str, Image]:
        """Copy these live files, in whatever thread; until this returns, no step may change them."""
        copies, begin, stream = {}, 0, self._buffer._stream
        if stream is not None and self._ready is not None:
            stream.wait_event(self._ready)
        for name, live in images.items():
            first = begin
            for part in live.parts:
                end = begin + part.numel()
                place = self._buffer._bytes[begin:end]
                if stream is None:
                    np.copyto(place.numpy(), part.numpy())  # one thread, whatever torch may use
                else:
                    with torch.cuda.stream(stream):
                        place.copy_(part, non_blocking=True)
                begin = end
                moved()
            copies[name] = Image(live.header, (self._buffer._bytes[first:begin],))
        if stream is not None:
            stream.synchronize()
        return copies
