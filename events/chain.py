"""The chain: one SHA-256 per commit over the stored bytes of its facts and the head before it.

Whoever can write the file can also rebuild a chain: it makes the log tamper-evident against every head kept
elsewhere (version manifests, backups), never tamper-proof.
"""

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

GENESIS = bytes(32)

#: seq, at, actor, stream, type, version, causation, correlation, data
Row = tuple[int, int, str, str, str, int, int | None, int | None, str]


def link(previous: bytes, first_seq: int, last_seq: int, at: int, rows: Iterable[Any]) -> bytes:
    """The head after a commit. Each field is preceded by its length, so that no two rows read alike."""
    known: dict[Any, str] = {}  # a commit's facts of one story and type share all but their seq and data
    parts = [f"{first_seq},{last_seq},{at};"]
    for row in rows:
        envelope, data = row[1:-1], row[-1]
        if (shared := known.get(envelope)) is None:
            shared = known[envelope] = "".join(map(_field, envelope))
        if isinstance(data, str) and data.isascii():
            parts.append(f"{len(str(row[0]))}:{row[0]}{shared}{len(data)}:{data}")
        else:
            parts += (_spelled(row[0]), shared, _spelled(data))
    return hashlib.sha256(previous + "".join(parts).encode()).digest()


def _spelled(value: Any) -> str:
    if value is None:
        return "-1:"
    text = str(value)
    return f"{len(text) if text.isascii() else len(text.encode())}:{text}"


_field = lru_cache(maxsize=4096, typed=True)(_spelled)  # of an envelope: the same names, over and over
