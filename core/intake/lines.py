"""The lines of a file: split at b"\\n" alone, numbered from 1, within hard limits, read as a stream."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

LINE_LIMIT = 100 * 1024**2
FILE_LIMIT = 10 * 1024**3
BOM = b"\xef\xbb\xbf"


class Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


class FileTooLarge(ValueError):
    """More bytes were read than a file may have."""


@dataclass(slots=True)
class Lines:
    """One pass over a file; `bytes_read`, `has_bom` and `digest` describe what was read so far.

    Limits are judged by bytes read, never by what the file system says of the size.
    """

    path: Path
    line_limit: int = LINE_LIMIT
    file_limit: int = FILE_LIMIT
    bytes_read: int = 0
    has_bom: bool = False
    _hash: Hash = field(default_factory=hashlib.sha256)

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[tuple[int, bytes | None]]:
        """Line numbers and lines without their end; None for one over the limit. Blank lines are left out."""
        with self.path.open("rb") as file:
            number = 0
            while line := file.readline(self.line_limit + 1):
                number += 1
                self._count(line)
                if len(line) > self.line_limit and not line.endswith(b"\n"):
                    # the rest of an overlong line is read in pieces and thrown away
                    while (rest := file.readline(1 << 20)) and not rest.endswith(b"\n"):
                        self._count(rest)
                    self._count(rest)
                    yield number, None
                    continue
                if number == 1 and line.startswith(BOM):
                    self.has_bom = True
                    line = line[len(BOM):]
                if line and not line.isspace():
                    ready = [line.rstrip(b"\r\n")]
                    line = b"more"                    # of a long line no copy is kept, nor the line itself
                    yield number, ready.pop()

    def _count(self, read: bytes) -> None:
        self._hash.update(read)
        self.bytes_read += len(read)
        if self.bytes_read > self.file_limit:
            raise FileTooLarge(f"{self.path.name} is larger than {self.file_limit:,} bytes: split it")
