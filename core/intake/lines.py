"""The lines of a file: split at b"\\n" alone, numbered from 1, within hard limits, read as a stream."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

LINE_LIMIT = 100 * 1024**2
FILE_LIMIT = 10 * 1024**3
PIECE = 1 << 20  # what is read of a line at a time
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

    def __iter__(self) -> Iterator[tuple[int, bytes | bytearray | None]]:
        """Line numbers and lines without their end; None for one over the limit. Blank lines are left out."""
        with self.path.open("rb") as file:
            number = 0
            line: bytes | bytearray | None
            while line := file.readline(PIECE):
                number += 1
                self._count(line)
                if len(line) == PIECE and not line.endswith(b"\n"):
                    line = self._whole(bytearray(line), file)
                elif len(line) > self.line_limit and not line.endswith(b"\n", 0, self.line_limit + 1):
                    line = None
                if number == 1 and line is not None and line.startswith(BOM):
                    self.has_bom = True
                    line = line[len(BOM):]
                if line is None:
                    yield number, None
                elif line and not line.isspace():
                    ready = [line.rstrip(b"\r\n") if isinstance(line, bytes) else line]
                    line = b"more"                    # a long one is not kept here as well
                    yield number, ready.pop()

    def _whole(self, line: bytearray, file: BinaryIO) -> bytearray | None:
        """A long line and its other pieces, in one place: no second copy, also of its end, is made."""
        is_over, piece = len(line) > self.line_limit, bytes(line[-1:])
        while not piece.endswith(b"\n") and (piece := file.readline(PIECE)):
            self._count(piece)
            if not is_over:
                line += piece
                is_over = len(line) > self.line_limit and not line.endswith(b"\n", 0, self.line_limit + 1)
        while line.endswith((b"\r", b"\n")):
            del line[-1:]
        return None if is_over else line

    def _count(self, read: bytes) -> None:
        self._hash.update(read)
        self.bytes_read += len(read)
        if self.bytes_read > self.file_limit:
            raise FileTooLarge(f"{self.path.name} is larger than {self.file_limit:,} bytes: split it")
