"""What becomes of a file that came in: received, a duplicate, queued or rejected?"""

from dataclasses import dataclass

from events.types import Event, FileDuplicate, FileReceived
from projections.fold import State
from projections.inbox import free_name
from projections.queue import PRIORITIES


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file whose bytes are hashed and safe inside the queue folder."""

    sha256: str
    original: str  # relative name, as it came
    priority: str
    size_bytes: int
    inode: int
    mtime_ns: int
    by_hand: bool = False
    changed_at: int = 0  # µs, when the inode last changed: nobody can set it back


def priority_of(original: str) -> str:
    """`high/a.jsonl` → high; any other folder is only part of the name."""
    first, inside, _ = original.partition("/")
    return first if inside and first in PRIORITIES else "normal"


def is_known_source(state: State, arrival: Arrival) -> bool:
    """Is this the very file that was received before, whose removal from the inbox was cut short?

    One dropped again (`cp -p` keeps the mtime, the file system reuses the inode) is younger than that fact.
    """
    source = (arrival.sha256, arrival.original, arrival.inode, arrival.mtime_ns)
    file = state.inbox.files.get(arrival.sha256)
    earlier = [*state.inbox.duplicates.values(), *([file] if file is not None else [])]
    return any(
        source == (known.sha256, known.original, known.source_inode, known.source_mtime_ns)
        and arrival.changed_at <= known.received_at
        for known in earlier
    )


def admit(state: State, arrival: Arrival) -> list[Event]:
    """New bytes are received; known ones are a duplicate, whatever their name."""
    plain_name = arrival.original.rpartition("/")[2]
    name = free_name(state.inbox, plain_name, arrival.sha256)
    known = state.inbox.files.get(arrival.sha256)
    if known is not None:
        return [
            FileDuplicate(
                sha256=arrival.sha256,
                name=name,
                original=arrival.original,
                same_as=known.name,
                size_bytes=arrival.size_bytes,
                source_inode=arrival.inode,
                source_mtime_ns=arrival.mtime_ns,
            )
        ]
    return [
        FileReceived(
            sha256=arrival.sha256,
            name=name,
            original=arrival.original,
            priority=arrival.priority,
            size_bytes=arrival.size_bytes,
            source_inode=arrival.inode,
            source_mtime_ns=arrival.mtime_ns,
            by_hand=arrival.by_hand,
        )
    ]


def trained_stores(state: State, sha256: str) -> tuple[str, ...]:
    """Keys of the token stores of files trained to their end, newest first; not of this file itself."""
    trained = [e for e in state.queue.entries.values() if e.state == "completed" and e.sha256 != sha256]
    newest = sorted(trained, key=lambda entry: entry.since, reverse=True)
    stores = [state.inbox.files[entry.sha256].store for entry in newest]
    return tuple(store for store in stores if store)
