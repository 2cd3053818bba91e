"""The inbox: which files came in, under which names, and what was found in them."""

from typing import Any

from immutables import Map
from msgspec import Struct, field
from msgspec.structs import replace

from events.types import (
    FileDuplicate,
    FileIgnored,
    FilePlaced,
    FileReceived,
    FileRejected,
    FileReopened,
    FileValidated,
    Recorded,
)

VERSION = 2

#: Bytes. File systems take 255; a suffix, `.report.json` and the dot-names of partial files must fit as well.
LONGEST_NAME = 180
#: How the name of a report ends, which stands beside the file it is about: no file may have such a name.
REPORT = ".report.json"


class File(Struct, frozen=True, gc=False):
    """One content, known by its hash; `verdict` is None while it is unchecked."""

    sha256: str
    name: str
    original: str
    size_bytes: int
    received: int  # seq
    received_at: int  # µs
    source_inode: int
    source_mtime_ns: int
    verdict: str | None = None
    format: str | None = None
    rows: int | None = None
    accepted_rows: int | None = None
    dropped_rows: int | None = None
    tokens: int | None = None
    trainable_tokens: int | None = None
    counts: Map[str, int] = field(default_factory=Map)
    warnings: tuple[str, ...] = ()
    reason: str | None = None
    store: str | None = None
    lines: Map[str, tuple[int, ...]] = field(default_factory=Map)  # problem code → its first lines
    lengths: Map[str, int | None] = field(default_factory=Map)  # in tokens: p50, p95, p99, max
    max_length: int | None = None
    trained_before: int = 0
    estimated_steps: int | None = None
    estimated_seconds: float | None = None


class Duplicate(Struct, frozen=True, gc=False):
    """One copy of bytes that were known already."""

    seq: int
    received_at: int  # µs
    sha256: str
    name: str
    original: str
    same_as: str
    size_bytes: int
    source_inode: int
    source_mtime_ns: int
    placed: str | None = None


class Inbox(Struct, frozen=True, gc=False):
    files: Map[str, File] = field(default_factory=Map)  # by sha256
    names: Map[str, str] = field(default_factory=Map)  # name in the queue folders → sha256
    duplicates: Map[int, Duplicate] = field(default_factory=Map)  # by seq
    ignored: Map[str, str] = field(default_factory=Map)  # original name → reason


EMPTY = Inbox()


def apply(state: Inbox, recorded: Recorded) -> Inbox:
    match recorded.event:
        case FileReceived() as e:
            file = File(
                e.sha256,
                e.name,
                e.original,
                e.size_bytes,
                recorded.seq,
                recorded.at,
                e.source_inode,
                e.source_mtime_ns,
            )
            return replace(
                state, files=state.files.set(e.sha256, file), names=state.names.set(e.name, e.sha256)
            )
        case FileDuplicate() as e:
            copy = Duplicate(
                recorded.seq,
                recorded.at,
                e.sha256,
                e.name,
                e.original,
                e.same_as,
                e.size_bytes,
                e.source_inode,
                e.source_mtime_ns,
            )
            return replace(
                state,
                duplicates=state.duplicates.set(recorded.seq, copy),
                names=state.names.set(e.name, e.sha256),
            )
        case FilePlaced(duplicate=int(seq), path=path) if seq in state.duplicates:
            placed = replace(state.duplicates[seq], placed=path)
            return replace(state, duplicates=state.duplicates.set(seq, placed))
        case FileIgnored(original=original, reason=reason):
            return replace(state, ignored=state.ignored.set(original, reason))
        case FileValidated() as e:
            return _update(
                state,
                e.sha256,
                verdict=e.verdict,
                format=e.format,
                rows=e.rows,
                accepted_rows=e.accepted_rows,
                dropped_rows=e.dropped_rows,
                tokens=e.tokens,
                trainable_tokens=e.trainable_tokens,
                counts=Map(e.counts),
                warnings=e.warnings,
                store=e.store,
                reason=None,
                lines=Map(e.lines),
                lengths=Map(e.lengths),
                max_length=e.max_length,
                trained_before=e.trained_before,
                estimated_steps=e.estimated_steps,
                estimated_seconds=e.estimated_seconds,
            )
        case FileRejected() as e:
            return _update(
                state,
                e.sha256,
                verdict="rejected",
                format=e.format,
                rows=e.rows,
                accepted_rows=e.accepted_rows,
                dropped_rows=e.dropped_rows,
                counts=Map(e.counts),
                reason=e.reason,
                lines=Map(e.lines),
                lengths=Map(e.lengths),
                max_length=e.max_length,
                trained_before=0,
                estimated_steps=None,
                estimated_seconds=None,
            )
        case FileReopened(sha256=sha256):
            return _update(state, sha256, verdict=None, reason=None)
        case _:
            return state


def _update(state: Inbox, sha256: str, /, **changes: Any) -> Inbox:
    return replace(state, files=state.files.set(sha256, replace(state.files[sha256], **changes)))


def free_name(state: Inbox, name: str, sha256: str) -> str:
    """A name for the queue folders that no file here ever had: `a.jsonl`, else `a-1f3c9a2b.jsonl`."""
    stem, dot, ending = name.rpartition(".")
    stem, ending = (stem, dot + ending) if stem and len(ending) <= 10 else (name, "")
    if len(name.encode()) > LONGEST_NAME:
        stem = f"{stem.encode()[: LONGEST_NAME - 30].decode('utf-8', 'ignore')}-{sha256[:8]}"
        name = stem + ending
    if name not in state.names and not name.endswith(REPORT):
        return name
    for n in range(len(state.names) + 2):
        candidate = f"{stem}-{sha256[:8]}{f'-{n}' if n else ''}{ending}"
        if candidate not in state.names:
            return candidate
    raise AssertionError("more candidates than names: one is free")
