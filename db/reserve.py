"""The reserve: space kept back on the disk, so that log, stop and clean-up work when it is full."""

import errno
import os
import shutil
import tempfile
from pathlib import Path

MOST = 32 << 20  # bytes
SHARED_MEMORY = 1 << 16  # of a WAL: what opening a log takes, doubled
LEAST = 1 << 20  # a commit of a few facts takes tens of KiB
SHARE = 0.01  # of the disk

#: No space, no quota left, larger than this process may write: for us one and the same.
NUMBERS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
#: SQLite's names for it, and those that may mean it.
SQLITE_NAMES = frozenset({"SQLITE_FULL", "SQLITE_IOERR_SHMSIZE"})
SQLITE_IN_DOUBT = frozenset({"SQLITE_IOERR", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_CANTOPEN"})


class LogFull(OSError):
    """The log can take no more facts: its disk is full and the reserve is used up. Nothing was written."""

    def __init__(self, path: Path) -> None:
        what = "the disk is full and no fact can be recorded; make space there, it goes on by itself"
        super().__init__(errno.ENOSPC, what, str(path))


class NoRoom(OSError):
    """Something was not begun because it would not fit. `shortage` says what it needs and what there is."""

    def __init__(self, shortage: str) -> None:
        super().__init__(errno.ENOSPC, shortage)
        self.shortage = shortage


def is_full(error: BaseException, path: Path | None = None) -> bool:
    """Did this fail for want of space (or quota, or the size a file may have)?

    `path`: of the database. SQLite tells only the kernel's ENOSPC apart from other failures of a write, and
    not for the WAL's shared memory: in doubt the disk itself is asked, by an allocation.
    """
    if isinstance(error, OSError):
        return error.errno in NUMBERS
    name = getattr(error, "sqlite_errorname", None)
    if name in SQLITE_IN_DOUBT and path is not None:
        return _refuses(_existing(path))
    return name in SQLITE_NAMES


def _refuses(folder: Path) -> bool:
    """Does the disk, or a quota on it, refuse a little more?"""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, SHARED_MEMORY)
    except OSError as error:
        return is_full(error)
    return False


class Reserve:
    """The file `.evertrain/reserve` of a workspace; it is whole, or empty and about to go, or not there."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def size(self) -> int:
        """Bytes that are to be kept back on this disk."""
        whole = shutil.disk_usage(_existing(self.path)).total
        return max(LEAST, min(MOST, int(SHARE * whole)))

    @property
    def is_there(self) -> bool:
        """Is it whole? An empty one was being given back by a process that died over it."""
        try:
            return self.path.stat().st_size > 0
        except FileNotFoundError:
            return False

    @property
    def missing(self) -> int:
        """Bytes that others must leave free for it: 0 while it is there."""
        return 0 if self.is_there else self.size

    def keep(self) -> bool:
        """Make it, really allocated, unless it is there; False when there is not twice the space it takes."""
        if self.is_there:
            return True
        size = self.size
        if shutil.disk_usage(_existing(self.path)).free < 2 * size:
            return False
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = self.path.with_name(f".{self.path.name}.partial")
        file = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, size)
        except OSError as error:
            partial.unlink()
            if is_full(error):
                return False
            raise
        finally:
            os.close(file)
        partial.rename(self.path)
        return True

    def release(self) -> bool:
        """Give it back to whoever must write now; that needs no space. False: it was not there, or is gone.

        The bytes go before the name: whoever finds the name gone has the space, whoever gave it back.
        """
        try:
            os.truncate(self.path, 0)
        except FileNotFoundError:
            return False
        self.path.unlink(missing_ok=True)
        return True


def _existing(path: Path) -> Path:
    return next(folder for folder in path.parents if folder.exists())
