"""Usage: how many bytes of the disk each kind of thing takes; a file with several names is counted once."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from db.workspace import Workspace

BLOCK = 512  # bytes of `st_blocks`, by POSIX


def measure(workspace: Workspace) -> dict[str, int]:
    """kind → allocated bytes: log, versions, checkpoints, backups, tokens, files, logs, base, other.

    Weights that a version shares with a resume point or the current model count for the version. Takes a
    walk over the workspace.
    """
    seen: set[tuple[int, int]] = set()
    log = [path for path in workspace.root.glob(f"{workspace.log.name}*") if path.is_file()]
    kinds = {
        "log": sum(_new(os.lstat(path), seen) for path in log),
        "versions": _whole(workspace.versions, seen),
    }
    current = workspace.current_model
    kinds["checkpoints"] = sum(_whole(path, seen) for path in _entries(current) if path.is_dir())
    kinds["versions"] += _whole(current, seen)
    kinds["backups"] = _whole(workspace.backups, seen)
    kinds["tokens"] = _whole(workspace.tokens, seen)
    kinds["files"] = _whole(workspace.queue, seen) + _whole(workspace.inbox, seen)
    kinds["logs"] = _whole(workspace.logs, seen)
    kinds["base"] = _whole(workspace.models, seen)
    kinds["other"] = _whole(workspace.root, seen)
    return kinds


def removable_bytes(path: Path) -> int:
    """Bytes that the removal of this file or folder gives back: what has another name elsewhere stays."""
    names: dict[tuple[int, int], int] = {}
    sizes: dict[tuple[int, int], tuple[int, int]] = {}
    for status in _files(path):
        key = (status.st_dev, status.st_ino)
        names[key] = names.get(key, 0) + 1
        sizes[key] = (status.st_nlink, status.st_blocks * BLOCK)
    return sum(size for key, (links, size) in sizes.items() if links <= names[key])


def _whole(folder: Path, seen: set[tuple[int, int]]) -> int:
    return sum(_new(status, seen) for status in _files(folder))


def _new(status: os.stat_result, seen: set[tuple[int, int]]) -> int:
    key = (status.st_dev, status.st_ino)
    if key in seen:
        return 0
    seen.add(key)
    return status.st_blocks * BLOCK


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _files(path: Path) -> Iterator[os.stat_result]:
    """The status of every regular file at or below a path; links are not followed, what goes is left out."""
    try:
        status = os.lstat(path)
        if stat.S_ISDIR(status.st_mode):
            for entry in os.scandir(path):
                yield from _files(Path(entry.path))
        elif stat.S_ISREG(status.st_mode):
            yield status
    except FileNotFoundError:
        return
