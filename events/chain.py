"""The chain: one SHA-256 per commit over the stored bytes of its facts and the head before it.

Whoever can write the file can also rebuild a chain: it makes the log tamper-evident against every head kept
elsewhere (version manifests, backups), never tamper-proof.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

GENESIS = bytes(32)

#: seq, at, actor, stream, type, version, causation, correlation, data
Row = tuple[int, int, str, str, str, int, int | None, int | None, str]


def link(previous: bytes, first_seq: int, last_seq: int, at: int, rows: Iterable[Any]) -> bytes:
    """The head after a commit. Each field is preceded by its length, so that no two rows read alike."""
    digest = hashlib.sha256(previous)
    digest.update(b"%d,%d,%d;" % (first_seq, last_seq, at))
    known: dict[Any, str] = {}  # a commit's facts share their time, actor, version and much else
    for *envelope, data in rows:
        parts = [known.get(value) or known.setdefault(value, _field(value)) for value in envelope]
        digest.update(f"{''.join(parts)}{_field(data)}".encode())
    return digest.digest()


def _field(value: Any) -> str:
    if value is None:
        return "-1:"
    text = str(value)
    return f"{len(text) if text.isascii() else len(text.encode())}:{text}"
