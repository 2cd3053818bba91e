"""Files: copied while hashed, written aside and renamed, moved without ever replacing anything."""

import contextlib
import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from events.heartbeat import moved

CHUNK = 1 << 20
SIZE_CAP = 10 * 10**9  # bytes of one file


class NotTakeable(Exception):
    """This cannot be taken in: the reason, and what to do."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason, self.remedy = reason, remedy


class StillChanging(Exception):
    """It changed while it was read: look again later."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a file is at a glance; two equal looks and no writer mean that it is settled."""

    inode: int
    device: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> "Look":
        return cls(status.st_ino, status.st_dev, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Copied:
    sha256: str
    look: Look


def look(path: Path) -> Look:
    """A glance at a regular file. Raises NotTakeable for anything else, OSError when it is gone."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        raise NotTakeable("a symbolic link", "put the file itself here")
    if not stat.S_ISREG(status.st_mode):
        raise NotTakeable("not a regular file", "remove it")
    if status.st_size > SIZE_CAP:
        raise NotTakeable(f"larger than {SIZE_CAP // 10**9} GB", "split it")
    return Look.of(status)


def open_for_writing(looks: Iterable[Look]) -> set[Look]:
    """Which of these files has some process of ours or of this user open for writing?"""
    wanted = {(each.device, each.inode): each for each in looks}
    found: set[Look] = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended, or is not ours to look at
            for descriptor in os.scandir(process / "fd"):
                with contextlib.suppress(OSError, ValueError):
                    status = os.stat(descriptor.path)
                    known = wanted.get((status.st_dev, status.st_ino))
                    if known is not None and _writes(process / "fdinfo" / descriptor.name):
                        found.add(known)
    return found


def _writes(fdinfo: Path) -> bool:
    for line in fdinfo.read_text().splitlines():
        if line.startswith("flags:"):
            return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return False


def copy_hashed(source: Path, target: Path) -> Copied:
    """Copy a regular file, hashing what is written; the bytes are on the disk when this returns.

    Opened once, never through a link. Raises StillChanging (it was touched meanwhile), NotTakeable, OSError.
    """
    reading = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        before = os.fstat(reading)
        if not stat.S_ISREG(before.st_mode):
            raise NotTakeable("not a regular file", "remove it")
        digest, size = hashlib.sha256(), 0
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            while part := os.read(reading, CHUNK):
                size += len(part)
                if size > SIZE_CAP:
                    raise NotTakeable(f"larger than {SIZE_CAP // 10**9} GB", "split it")
                digest.update(part)
                _write_all(writing, part)
                moved()
            os.fsync(writing)
        finally:
            os.close(writing)
        after = os.fstat(reading)
    finally:
        os.close(reading)
    if Look.of(before) != Look.of(after) or size != after.st_size:
        target.unlink()
        raise StillChanging(str(source))
    return Copied(digest.hexdigest(), Look.of(after))


def _write_all(descriptor: int, part: bytes) -> None:
    view = memoryview(part)
    while view:
        view = view[os.write(descriptor, view) :]


def sha256_of(path: Path) -> str:
    """The hash of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while part := file.read(CHUNK):
            digest.update(part)
            moved()
    return digest.hexdigest()


def folder_sha256(folder: Path, hash_of: Callable[[Path], str] = sha256_of) -> str:
    """One hash over the names and contents of a folder's files; times, modes and order play no part."""
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        whole.update(f"{hash_of(path)} {path.relative_to(folder).as_posix()}\n".encode())
    return whole.hexdigest()


def fsync_folder(folder: Path) -> None:
    """Make renames inside it last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_file(path: Path) -> None:
    """Make a file's bytes last."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """The file is the old one or the new one, never half of it."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with aside.open("wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError:
        aside.unlink(missing_ok=True)  # on a full disk it would be in the way of everybody
        raise
    if durable:
        fsync_folder(path.parent)


def move(source: Path, target: Path) -> None:
    """Rename without replacing. Raises FileExistsError when the target's name is taken."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        os.link(source, target, follow_symlinks=False)  # fails when taken, unlike rename
        source.unlink()
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        if target.exists():
            raise FileExistsError(str(target)) from error
        shutil.move(source, target)
    fsync_folder(target.parent)
    fsync_folder(source.parent)


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link where the file system allows, else a durable copy."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EXDEV, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        try:
            shutil.copyfile(source, target)
            fsync_file(target)
        except OSError:
            target.unlink(missing_ok=True)
            raise


def printable(name: str) -> str:
    """A file name as text that any fact, page and terminal can hold: other bytes and controls escaped."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
