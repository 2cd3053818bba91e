"""Converting on the way in: `.json` arrays and `.jsonl.gz` become `.jsonl`; the source is left alone."""

import codecs
import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.files import CHUNK, SIZE_CAP, copy_hashed, fsync_folder, move
from core.intake.lines import LINE_LIMIT

RATIO_CAP = 200  # bytes out for a byte in; what is over it is a bomb
SMALL = 1 << 20  # bytes that may come out of anything: a short file of one repeated row is no bomb

SPACE = " \t\r\n"


class NotConvertible(Exception):
    """This cannot become a .jsonl file: why, and what to do."""


@dataclass(frozen=True, slots=True)
class Brought:
    path: Path  # in the inbox
    sha256: str
    converted: str | None  # what was done, in words


def bring(source: Path, folder: Path) -> Brought:
    """Copy `source` into an inbox folder, converted where needed; seen there only when it is whole.

    Raises NotConvertible, OSError.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    aside = folder / f".adding.{os.getpid()}.partial"
    try:
        sha256, name, said = _write(source, aside)
        target = _free(folder, name, sha256)
        move(aside, target)
    finally:
        aside.unlink(missing_ok=True)
    fsync_folder(folder)
    return Brought(target, sha256, said)


def _write(source: Path, aside: Path) -> tuple[str, str, str | None]:
    lowered = source.name.lower()
    if lowered.endswith(".jsonl.gz"):
        return _pour(_inflated(source), aside), source.name[:-3], "inflated"
    if lowered.endswith(".json"):
        count = 0

        def lines() -> Iterator[bytes]:
            nonlocal count
            with source.open("rb") as file:
                for row in elements(file.read):
                    count += 1
                    yield row

        sha256 = _pour(lines(), aside)
        return sha256, f"{source.name[:-5]}.jsonl", f"a JSON array of {count:,} rows, written one to a line"
    return copy_hashed(source.resolve(), aside).sha256, source.name, None


def _pour(parts: Iterator[bytes], target: Path) -> str:
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as file:
        for part in parts:
            size += len(part)
            if size > SIZE_CAP:
                raise NotConvertible(f"it is larger than {SIZE_CAP // 10**9} GB: split it")
            digest.update(part)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _inflated(source: Path) -> Iterator[bytes]:
    packed, size = source.stat().st_size, 0
    try:
        with gzip.open(source) as file:
            while part := file.read(CHUNK):
                size += len(part)
                if size > max(SMALL, RATIO_CAP * packed):
                    raise NotConvertible(
                        f"it inflates to more than {RATIO_CAP} times its size: unpack it yourself"
                    )
                yield part
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise NotConvertible(f"not a whole gzip file ({error}): copy it again") from error


def elements(read: Callable[[int], bytes], limit: int = LINE_LIMIT) -> Iterator[bytes]:
    """The elements of a JSON array as lines, read as a stream: of memory one element is needed, not all.

    `read(n)` gives up to n bytes, none at the end. Raises NotConvertible.
    """
    text = _Text(read)
    if text.next() != "[":
        found = "; it looks like JSON Lines: rename it to .jsonl" if text.peek() == "{" else ""
        raise NotConvertible(f"a .json file must hold an array of rows{found}")
    text.skip()
    if text.next() == "]":
        text.skip()
    else:
        while True:
            yield _line(text.element(limit))
            mark = text.next()
            text.skip()
            if mark == "]":
                break
            if mark != "," or text.next() == "]":
                raise NotConvertible(f"not readable JSON near character {text.place:,}: a comma is amiss")
    if text.next():
        raise NotConvertible("something follows the array: write one JSON object per line instead")


def _line(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:                  # half of a surrogate pair: the check will name its line
        return json.dumps(value).encode() + b"\n"


class _Text:
    """A stream of text with a place in it."""

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._parse = json.JSONDecoder().raw_decode
        self._held, self._at, self._gone, self._ended = "", 0, 0, False

    @property
    def place(self) -> int:
        return self._gone + self._at + 1

    def peek(self) -> str:
        return self._held[self._at : self._at + 1]

    def skip(self) -> None:
        self._at += 1

    def next(self) -> str:
        """The next character that is no white space, where the place then is; empty at the end."""
        while True:
            while self._at < len(self._held) and self._held[self._at] in SPACE:
                self._at += 1
            if self._at < len(self._held) or not self._more(CHUNK):
                return self.peek()

    def element(self, limit: int) -> Any:
        """The JSON value here, and behind it the place."""
        self.next()
        while True:
            hopeless = self._ended or len(self._held) - self._at > limit
            try:
                value, end = self._parse(self._held, self._at)
            except (ValueError, RecursionError) as error:
                if hopeless or isinstance(error, RecursionError):
                    raise NotConvertible(
                        f"not readable JSON near character {self.place:,} ({type(error).__name__}): "
                        "check it, or write one JSON object per line"
                    ) from None
            else:
                # the beginning of a number is a number too: it may go on in what is still to be read
                if hopeless or self._held[end : end + 1] not in ("", *".eE"):
                    self._at = end
                    return value
            self._more(max(CHUNK, len(self._held) - self._at))

    def _more(self, size: int) -> bool:
        """Read on; twice as much as is held each time, so a long element is parsed a few times only."""
        if self._ended:
            return False
        part = self._read(size)
        self._ended = not part
        self._gone += self._at
        try:
            self._held = self._held[self._at :] + self._decoder.decode(part, final=self._ended)
        except UnicodeDecodeError as error:
            raise NotConvertible(f"not UTF-8 ({error.reason}): save the file as UTF-8") from error
        self._at = 0
        return not self._ended


def _free(folder: Path, name: str, sha256: str) -> Path:
    path = folder / name
    if not path.exists():
        return path
    return folder / f"{Path(name).stem}-{sha256[:8]}{Path(name).suffix}"
