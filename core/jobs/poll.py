"""Poll: take in what was dropped into the inbox or put into a queue folder by hand."""

import os
from collections.abc import Iterator
from pathlib import Path

from core.decide.intake import Arrival, admit, is_known_source, priority_of
from core.files import (
    Look,
    NotTakeable,
    StillChanging,
    copy_hashed,
    fsync_folder,
    look,
    open_for_writing,
    printable,
    sha256_of,
)
from core.jobs.service import Service
from core.space import ensure_room
from db.reserve import LogFull, is_full
from db.workspace import PRIORITIES
from events.types import (
    DriftFound,
    Event,
    FileDuplicate,
    FileIgnored,
    FileLost,
    FilePlaced,
    FileReceived,
    FileReopened,
    FileReprioritized,
)
from projections.inbox import Duplicate
from projections.queue import Entry

SETTLE_SECONDS = 1.0


def arriving(service: Service) -> Path:
    """Where copies lie until they are placed: inside queue/, so that they are data like the queue itself."""
    return service.workspace.queue / ".arriving"


def arrival_name(copy: FileReceived | FileDuplicate | Duplicate) -> str:
    """The copy's name there, as the fact itself gives it, or what was folded from it."""
    if isinstance(copy, FileReceived):
        return copy.sha256
    return f"{copy.sha256}-{copy.source_inode}-{copy.source_mtime_ns}"


def poll(service: Service) -> bool:
    """Look twice, take what is settled. True: something is still there to be looked at again."""
    first = _looks(service)
    if not first:
        return _missing(service, set())
    interval = service.settings().poll_interval
    service.stop.wait(min(SETTLE_SECONDS, interval / 2))
    second = _looks(service)
    writers = open_for_writing(second.values())
    short: OSError | None = None
    settled = {p: s for p, s in second.items() if first.get(p) == s and s not in writers}
    for path, seen in sorted(settled.items(), key=lambda item: (item[1].mtime_ns, str(item[0]))):
        if service.stop.is_set():
            return True
        try:
            _take(service, path, seen)
        except (StillChanging, FileNotFoundError):
            continue  # looked at again at the next poll
        except NotTakeable as refusal:
            _ignore(service, path, refusal)
        except PermissionError as error:
            _ignore(service, path, NotTakeable(str(error.strerror), "make it readable for evertrain's user"))
        except OSError as error:
            if not is_full(error) or isinstance(error, LogFull):
                raise
            short = short or error  # a smaller one may fit
    if short is not None:
        raise short
    unsettled = set(second) - set(settled)
    return _missing(service, unsettled) or bool(unsettled)


def _looks(service: Service) -> dict[Path, Look]:
    found: dict[Path, Look] = {}
    for path in _candidates(service):
        try:
            found[path] = look(path)
        except FileNotFoundError:
            continue
        except NotTakeable as refusal:
            _ignore(service, path, refusal)
    return found


def _candidates(service: Service) -> Iterator[Path]:
    """What lies in the inbox, and what lies in a waiting folder without the log knowing it there."""
    service.workspace.inbox.mkdir(exist_ok=True, mode=0o700)  # somebody may have removed it
    for folder, folders, names in os.walk(service.workspace.inbox):
        folders[:] = [name for name in folders if not name.startswith(".")]  # half of a copy may lie there
        links = [name for name in folders if (Path(folder) / name).is_symlink()]  # to folders: told as well
        yield from (Path(folder) / name for name in [*names, *links] if not name.startswith("."))
    with service.places:
        placed = {entry.placed for entry in service.state().queue.entries.values()}
        for priority in PRIORITIES:
            folder_path = service.workspace.queue / priority
            folder_path.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path in folder_path.iterdir():
                if not path.name.startswith(".") and service.workspace.relative(path) not in placed:
                    yield path


def _original(service: Service, path: Path) -> str:
    if path.is_relative_to(service.workspace.inbox):
        return printable(path.relative_to(service.workspace.inbox).as_posix())
    return printable(path.relative_to(service.workspace.queue).as_posix())


def _ignore(service: Service, path: Path, refusal: NotTakeable) -> None:
    original = _original(service, path)
    if service.state().inbox.ignored.get(original) != refusal.reason:
        service.append(FileIgnored(original=original, reason=refusal.reason, remedy=refusal.remedy))


def _take(service: Service, path: Path, seen: Look) -> None:
    by_hand = path.is_relative_to(service.workspace.queue)
    if _is_back(service, path, seen, by_hand):
        return
    folder = arriving(service)
    folder.mkdir(exist_ok=True, mode=0o700)
    copy = folder / "copying"
    ensure_room(service.workspace, f"taking in {_original(service, path)}", seen.size)
    try:
        copied = copy_hashed(path, copy)
    except OSError:
        copy.unlink(missing_ok=True)  # half a copy must not hold the space that is missing
        raise
    original = _original(service, path)
    priority = path.parent.name if by_hand else priority_of(original)
    changed_at = path.lstat().st_ctime_ns // 1000
    was = copied.look
    arrival = Arrival(
        copied.sha256, original, priority, was.size, was.inode, was.mtime_ns, by_hand, changed_at
    )
    state = service.state()
    if is_known_source(state, arrival):
        copy.unlink()
    else:
        (fact,) = admit(state, arrival)
        assert isinstance(fact, FileReceived | FileDuplicate)
        copy.rename(folder / arrival_name(fact))
        fsync_folder(folder)
        service.append(fact, unless=(FileReceived, FileDuplicate), after=state.seq)
    # The fact is on the disk: now the source may go, unless it was replaced meanwhile.
    if look(path) == copied.look:
        path.unlink()


#: Where a file was never trained to an end: dropped into the inbox again it is the file itself, no duplicate.
UNTRAINED = ("waiting", "validating", "removed")


def _is_back(service: Service, path: Path, seen: Look, by_hand: bool) -> bool:
    """A file the log misses at its place, found elsewhere: moved by a person, or dropped after a loss."""
    state = service.state()
    missing = [
        entry
        for entry in state.queue.entries.values()
        if entry.placed is not None
        and (by_hand or entry.state in UNTRAINED)
        and state.inbox.files[entry.sha256].size_bytes == seen.size
        and (entry.lost or not (service.workspace.root / entry.placed).exists())
    ]
    if not missing:
        return False
    sha256 = sha256_of(path)
    with service.places:
        where = service.workspace.relative(path)
        if all(sha256 != e.sha256 for e in missing) or look(path) != seen or printable(where) != where:
            return False
        entry = service.state().queue.entries[sha256]  # again: it may have been on its way a moment ago
        if entry.placed is not None and (service.workspace.root / entry.placed).exists():
            return False
        priority = path.parent.name if by_hand else priority_of(_original(service, path))
        facts: list[Event] = [FilePlaced(sha256=sha256, path=where)]
        if entry.state in ("waiting", "validating"):
            if entry.priority != priority:
                facts.insert(0, FileReprioritized(sha256=sha256, priority=priority, by_hand=True))
        elif entry.state != "processing":
            facts.insert(0, FileReopened(sha256=sha256, priority=priority, by_hand=True))
        service.append(*facts)
    return True


def _missing(service: Service, unsettled: set[Path]) -> bool:
    """Waiting files that are gone from disk leave the queue; not while a moved one may be on its way."""
    with service.places:
        state = service.state()
        gone: list[Entry] = [
            entry
            for entry in state.queue.entries.values()
            if entry.state in ("waiting", "validating")
            and entry.placed is not None
            and entry.sha256 not in state.queue.unsettled
            and not (service.workspace.root / entry.placed).exists()
        ]
        if gone and unsettled:
            return True
        for entry in gone:
            assert entry.placed is not None
            service.append(
                FileLost(sha256=entry.sha256, path=entry.placed),
                DriftFound(
                    kind="file_missing",
                    path=entry.placed,
                    detail="a waiting file was deleted or moved away",
                    remedy="drop it into the inbox again, or ignore this",
                ),
            )
    return False
