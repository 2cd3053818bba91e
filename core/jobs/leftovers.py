"""The leftovers: what processes began and never finished, by its name and by who still lives."""

import os
from collections.abc import Iterator
from pathlib import Path

from db.processes import holder
from db.workspace import Workspace


def is_alone(workspace: Workspace) -> bool:
    """Is no trainer at work? (The caller has the daemon's lock.)"""
    return holder(workspace.locks, "trainer") is None


def begun(workspace: Workspace) -> Iterator[Path]:
    """Temporary files, and what was begun under a name of its own beside its place.

    Not what names a process that lives: a command may be at work on it.
    """
    found = [path for path in entries(workspace.temporary) if not path.name.startswith("report-")]
    for folder in (workspace.versions, workspace.current_model, workspace.tokens, workspace.models):
        found += [path for path in entries(folder) if path.name.startswith(".") and ".partial" in path.name]
    for path in found:
        pid = _pid_of(path.name)
        if pid is None or not _lives(pid):
            yield path


def orphans(workspace: Workspace) -> list[Path]:
    """Partial files (`.NAME.PID.partial`, `….partial-PID`) of processes that have ended."""
    folders = (
        workspace.root, workspace.current_model, workspace.status_file.parent, workspace.temporary,
        workspace.tokens, workspace.queue / "failed",
    )  # fmt: skip
    named = ((path, _pid_of(path.name)) for folder in folders for path in entries(folder))
    return [path for path, pid in named if pid is not None and not _lives(pid)]


def _pid_of(name: str) -> int | None:
    """The process that a partial file's name tells of."""
    parts = name.split(".")
    number = parts[-2] if parts[-1] == "partial" and len(parts) > 2 else parts[-1].removeprefix("partial-")
    if not name.startswith(".") or ".partial" not in name or not number.isdecimal():
        return None
    return int(number)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass  # it lives, as somebody else's; or it is no process at all, and nobody's guess
    return True


def entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
