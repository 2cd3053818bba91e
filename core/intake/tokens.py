"""The token store: a file's accepted rows as tokens and labels on disk, written once, mapped into memory."""

import contextlib
import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from core.files import fsync_folder
from core.intake.encoded import Encoded
from core.intake.template import Renderer
from core.settings import Settings

# Raised whenever the same file, base and settings would give other tokens or another report.
CODE_VERSION = 4

# Which settings change tokens, labels, or what is left out.
MATTERING = (
    "max_length", "too_long", "max_bad_rows", "system_prompt", "stop_sequences", "think_prefix", "seed",
)

BUFFER = 1 << 18  # bytes of each column that are written at once

COLUMNS: dict[str, str] = {"ids": "<u4", "labels": "u1", "offsets": "<u8", "hashes": "u1", "lines": "<u4"}


class StoreDamaged(RuntimeError):
    """A token store cannot be used; it is only a cache, so the remedy is to have it written again."""

    def __init__(self, folder: Path, what: str) -> None:
        super().__init__(f"{folder}: {what}: delete it, then `evertrain queue retry`")


def store_key(file_sha256: str, renderer: Renderer, settings: Settings) -> str:
    """32 hex digits that name the store of a file under a base model and settings."""
    chosen = {key: value for key, value in asdict(settings).items() if key in MATTERING}
    parts = [CODE_VERSION, file_sha256, renderer.tokenizer_sha256, renderer.template_sha256, chosen]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class TokenStore:
    """Read-only memory maps over a store's folder; row r has the tokens offsets[r] … offsets[r + 1]."""

    ids: NDArray[np.uint32]             # [tokens]
    labels: NDArray[np.uint8]           # [tokens]; 1: a training target, predicted from the token before it
    offsets: NDArray[np.uint64]         # [rows + 1]
    hashes: NDArray[np.uint8]           # [rows, 32]; sha256 of the row's content
    line_numbers: NDArray[np.uint32]    # [rows]; where the row stands in the file
    meta: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> "TokenStore":
        """Raises `StoreDamaged` when a part is missing or has another size than was written."""
        try:
            meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
            rows, tokens = meta["rows"], meta["tokens"]
        except (OSError, ValueError, KeyError) as error:
            raise StoreDamaged(folder, f"meta.json cannot be read ({type(error).__name__})") from None
        shapes = {
            "ids": (tokens,), "labels": (tokens,),
            "offsets": (rows + 1,), "hashes": (rows, 32), "lines": (rows,),
        }
        maps: dict[str, Any] = {}
        for name, shape in shapes.items():
            path = folder / f"{name}.bin"
            expected = int(np.prod(shape)) * np.dtype(COLUMNS[name]).itemsize
            if not path.is_file() or path.stat().st_size != expected:
                raise StoreDamaged(folder, f"{path.name} is missing or has another size than was written")
            maps[name] = np.memmap(path, COLUMNS[name], mode="r", shape=shape)
        return cls(maps["ids"], maps["labels"], maps["offsets"], maps["hashes"], maps["lines"], meta)

    @property
    def rows(self) -> int:
        return len(self.line_numbers)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each row, int64[rows]."""
        offsets = self.offsets.astype(np.int64)
        return offsets[1:] - offsets[:-1]

    @property
    def trained(self) -> NDArray[np.int64]:
        """Training targets of each row, int64[rows]."""
        if not self.rows:
            return np.zeros(0, np.int64)
        return np.add.reduceat(self.labels, self.offsets[:-1].astype(np.int64), dtype=np.int64)


class StoreWriter:
    """Writes a store row by row, beside its place; `finish` makes it durable and visible in one step.

    Used in a `with` block; left without `finish`, nothing remains.
    """

    def __init__(self, parent: Path, key: str) -> None:
        self.folder = parent / key
        # of this process alone: daemon and trainer may both miss the store of a fixed validation set
        self._partial = parent / f".{key}.{os.getpid()}.partial"
        self._files: dict[str, BinaryIO] = {}
        self.rows = 0
        self.tokens = 0

    def __enter__(self) -> "StoreWriter":
        shutil.rmtree(self._partial, ignore_errors=True)        # of a writer that was killed
        self._partial.mkdir(parents=True)
        self._files = {name: (self._partial / f"{name}.bin").open("wb", BUFFER) for name in COLUMNS}
        self._files["offsets"].write(np.uint64(0).tobytes())
        return self

    def append(self, encoded: Encoded, row_sha256: bytes, line: int) -> None:
        self.rows += 1
        self.tokens += len(encoded.ids)
        self._files["ids"].write(encoded.ids.astype("<u4", copy=False).data)
        self._files["labels"].write(encoded.labels.data)
        self._files["offsets"].write(self.tokens.to_bytes(8, "little"))
        self._files["hashes"].write(row_sha256)
        self._files["lines"].write(line.to_bytes(4, "little"))

    def finish(self, report: dict[str, Any]) -> Path:
        """The store's folder, complete and on disk; the report is kept with it."""
        meta = {"code_version": CODE_VERSION, "rows": self.rows, "tokens": self.tokens, "report": report}
        for file in self._files.values():
            _sync(file)
        with (self._partial / "meta.json").open("wb") as file:
            file.write(json.dumps(meta, indent=1).encode())
            _sync(file)
        fsync_folder(self._partial)
        shutil.rmtree(self.folder, ignore_errors=True)          # a damaged one
        self._partial.rename(self.folder)
        fsync_folder(self.folder.parent)
        return self.folder

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
    ) -> None:
        for file in self._files.values():
            with contextlib.suppress(OSError):  # a full disk: `finish` has synced what counts, the rest goes
                file.close()
        shutil.rmtree(self._partial, ignore_errors=True)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
