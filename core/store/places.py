"""Places: bytes under names, on a folder (written aside, synced, renamed) or on any fsspec file system."""

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from core.files import CHUNK, fsync_folder
from events.heartbeat import moved

#: Called between two parts of long work; raises when it should end here.
GoOn = Callable[[], None]


class StoreFailed(Exception):
    """A target cannot be used: what, where, and what to do."""


class Changed(Exception):
    """A file does not hold the bytes that were asked for."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} does not hold the bytes that were expected")
        self.path = path


def proceed() -> None:
    """Never ends anything: for work that nobody has to stop."""


class Readable(Protocol):
    """What can be read, a part at a time."""

    def read(self, size: int = -1, /) -> bytes: ...


class Place(Protocol):
    """Named bytes; a name that exists is whole."""

    def size(self, name: str) -> int | None:
        """Bytes under this name; None: there is none."""

    def open(self, name: str) -> contextlib.AbstractContextManager[Readable]:
        """The bytes, to be read. Raises FileNotFoundError."""

    def put(self, name: str, source: Path, sha256: str, go_on: GoOn) -> None:
        """The bytes of a file under this name, durable. Raises Changed when they have another hash."""

    def put_bytes(self, name: str, data: bytes) -> None:
        """These few bytes under this name, durable; what was there is replaced at once."""

    def delete(self, name: str) -> None:
        """Nothing is under this name any more; nothing may have been."""

    def names(self, folder: str) -> list[str]:
        """All names below a folder, also of what a crash left half written."""


class Folder:
    """A folder of a local file system."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def size(self, name: str) -> int | None:
        try:
            return (self.root / name).stat().st_size
        except FileNotFoundError:
            return None

    def open(self, name: str) -> contextlib.AbstractContextManager[Readable]:
        return (self.root / name).open("rb")

    def put(self, name: str, source: Path, sha256: str, go_on: GoOn) -> None:
        with source.open("rb") as reading:
            self._write(name, parts(reading, go_on), (sha256, source))

    def put_bytes(self, name: str, data: bytes) -> None:
        self._write(name, iter([data]), None)

    def _write(self, name: str, data: Iterator[bytes], wanted: tuple[str, Path] | None) -> None:
        """A copy, never a hard link: later damage to a live file must not reach the store."""
        path = self.root / name
        self._make(path.parent)
        aside = path.with_name(f".{path.name}.partial")
        digest = hashlib.sha256()
        try:
            with aside.open("wb") as file:
                for part in data:
                    digest.update(part)
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            if wanted is not None and digest.hexdigest() != wanted[0]:
                raise Changed(wanted[1])
            os.replace(aside, path)
        except BaseException:
            with contextlib.suppress(OSError):  # the error that is on its way says more
                aside.unlink(missing_ok=True)
            raise
        fsync_folder(path.parent)

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for made in (folder, *folder.parents):
                fsync_folder(made.parent)
                if made == self.root:
                    break

    def delete(self, name: str) -> None:
        path = self.root / name
        if path.exists():
            path.unlink()
            fsync_folder(path.parent)

    def names(self, folder: str) -> list[str]:
        if not self.root.is_dir():
            return []
        found = (self.root / folder).rglob("*")
        return sorted(path.relative_to(self.root).as_posix() for path in found if path.is_file())


class _Told:
    """A remote file whose errors name the target; what its reader raises by itself goes on as it is."""

    def __init__(self, file: Any, told: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        self._file, self._told = file, told

    def read(self, size: int = -1, /) -> bytes:
        with self._told():
            return bytes(self._file.read(size))


class Remote:
    """Any file system that fsspec knows: its own put, then every byte read back."""

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        self.url = url
        with self._told():
            self._system, root = url_to_fs(url)
        self._root = str(root).rstrip("/")

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever such a file system raises, as one error that names the target."""
        try:
            yield
        except (FileNotFoundError, Changed):
            raise
        except Exception as error:
            raise StoreFailed(
                f"{self.url}: {type(error).__name__}: {error}; check backup.target, its package "
                "and its credentials"
            ) from error

    def size(self, name: str) -> int | None:
        with self._told():
            self._system.invalidate_cache()
            try:
                return int(self._system.info(self._at(name))["size"])
            except FileNotFoundError:
                return None

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Readable]:
        with self._told():
            file = self._system.open(self._at(name), "rb")
        try:
            yield _Told(file, self._told)
        finally:
            file.close()

    def put(self, name: str, source: Path, sha256: str, go_on: GoOn) -> None:
        with source.open("rb") as reading:
            if hash_of(reading, go_on) != sha256:
                raise Changed(source)
        steps = _steps(go_on)
        try:
            with self._told():
                self._system.makedirs(self._at(name).rpartition("/")[0], exist_ok=True)
                self._system.put_file(str(source), self._at(name), callback=steps)
        except StoreFailed:
            if steps.ended is not None:
                raise steps.ended from None
            raise
        with self.open(name) as written:
            if hash_of(written, go_on) != sha256:
                self.delete(name)
                raise Changed(source)

    def put_bytes(self, name: str, data: bytes) -> None:
        with self._told():
            self._system.makedirs(self._at(name).rpartition("/")[0], exist_ok=True)
            self._system.pipe_file(self._at(name), data)
        with self.open(name) as written:
            if written.read() != data:
                self.delete(name)
                raise StoreFailed(f"{self.url}: {name} reads back otherwise than it was written")

    def delete(self, name: str) -> None:
        with self._told(), contextlib.suppress(FileNotFoundError):
            self._system.rm_file(self._at(name))

    def names(self, folder: str) -> list[str]:
        with self._told():
            self._system.invalidate_cache()
            found: list[Any] = self._system.find(self._at(folder))
        start = len(self._system._strip_protocol(self._root)) + 1
        return sorted(str(path)[start:] for path in found)


def _steps(go_on: GoOn) -> Any:
    """A callback of fsspec: a long upload moves, and ends when it should; `ended` is what ended it."""
    from fsspec.callbacks import Callback

    class Steps(Callback):  # type: ignore[misc]  # fsspec is untyped
        ended: Exception | None = None

        def call(self, hook_name: str | None = None, **kwargs: Any) -> None:
            moved()
            try:
                go_on()
            except Exception as error:
                self.ended = error
                raise

    return Steps()


def is_local(target: str) -> bool:
    """Is this target a folder of this machine?"""
    return "://" not in target or target.startswith(("file://", "local://"))


def place(target: str, root: Path) -> Place:
    """The place of a target; a relative folder is meant inside `root`. Raises StoreFailed."""
    if "://" not in target:
        return Folder(root / Path(target).expanduser())
    if is_local(target):
        from fsspec.core import url_to_fs

        return Folder(Path(url_to_fs(target)[1]))
    return Remote(target)


def parts(file: Readable, go_on: GoOn = proceed) -> Iterator[bytes]:
    """The bytes, a part at a time."""
    while part := file.read(CHUNK):
        go_on()
        moved()
        yield part


def hash_of(file: Readable, go_on: GoOn = proceed) -> str:
    """SHA-256 of what is left to be read."""
    digest = hashlib.sha256()
    for part in parts(file, go_on):
        digest.update(part)
    return digest.hexdigest()
