"""Converting on the way in: `.json` arrays and `.jsonl.gz` become `.jsonl`; the source is left alone."""

import gzip
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.files import CHUNK, SIZE_CAP, Copied, copy_hashed, fsync_folder, move, sha256_of

RATIO_CAP = 200  # bytes out for a byte in; what is over it is a bomb


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
    aside = folder / f".{source.name}.{os.getpid()}.partial"
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
        _pour(_inflated(source), aside)
        return sha256_of(aside), source.name[:-3], "inflated"
    if lowered.endswith(".json"):
        rows = _array(source)
        _pour((json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows), aside)
        return (
            sha256_of(aside),
            f"{source.name}l",
            f"a JSON array of {len(rows):,} rows, written one to a line",
        )
    copied: Copied = copy_hashed(source.resolve(), aside)
    return copied.sha256, source.name, None


def _pour(parts: Iterator[bytes], target: Path) -> None:
    with target.open("wb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())


def _inflated(source: Path) -> Iterator[bytes]:
    packed, size = source.stat().st_size, 0
    try:
        with gzip.open(source) as file:
            while part := file.read(CHUNK):
                size += len(part)
                if size > SIZE_CAP or size > RATIO_CAP * max(packed, CHUNK):
                    raise NotConvertible(
                        f"it inflates to more than {RATIO_CAP} times its size: unpack it yourself"
                    )
                yield part
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise NotConvertible(f"not a whole gzip file ({error}): copy it again") from error


def _array(source: Path) -> list[object]:
    try:
        value = json.loads(source.read_bytes())
    except (ValueError, RecursionError) as error:
        raise NotConvertible(
            f"not readable JSON ({error}): check it, or write one JSON object per line"
        ) from error
    if not isinstance(value, list):
        raise NotConvertible("a .json file must hold an array of rows")
    return value


def _free(folder: Path, name: str, sha256: str) -> Path:
    path = folder / name
    if not path.exists():
        return path
    return folder / f"{Path(name).stem}-{sha256[:8]}{Path(name).suffix}"
