"""The upload: bytes from a browser become a file in the inbox, whole or not at all."""

import asyncio
import os
import re
import secrets
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from starlette.requests import Request

from db.workspace import PRIORITIES, Workspace
from web.forms import BadForm, Part, parts

T = TypeVar("T")
Run = Callable[[Callable[[], T]], Awaitable[T]]

MOST_BYTES = 64 * 1024**3
SPARE_BYTES = 64 * 1024**2  # left free for the log
PIECE = 1024**2
ENDINGS = (".jsonl",)


class Upload:
    """The parts of one form, in order: `priority` first, then any number of files."""

    def __init__(self, workspace: Workspace, run: Run[None]) -> None:
        self.taken: list[str] = []
        self._workspace, self._run = workspace, run
        self._priority = ""
        self._file: int | None = None
        self._temporary: Path | None = None
        self._size = 0
        self._held = bytearray()

    async def take(self, part: Part, piece: bytes | None) -> None:
        """A piece of a part; None ends it."""
        if part.file is None:
            if part.name == "priority" and piece is not None:
                self._priority += piece.decode("ascii", "replace")[:20]
            return
        if not part.file and piece is None and not self._size:
            return  # a file field left empty
        if self._file is None:
            self._open(label(part.file))
        if piece is None:
            await self._finish(label(part.file))
            return
        self._size += len(piece)
        if self._size > MOST_BYTES:
            raise BadForm(f"{part.file}: larger than {MOST_BYTES // 1024**3} GiB; split it", 413)
        self._held += piece
        if len(self._held) >= PIECE:
            await self._write()

    def _folder(self) -> Path:
        if self._priority not in PRIORITIES:
            raise BadForm(f"priority: {self._priority!r} is not one of {', '.join(PRIORITIES)}")
        return self._workspace.inbox / self._priority

    def _open(self, name: str) -> None:
        folder = self._folder()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        # a leading dot: the inbox is not looked at for it
        self._temporary = folder / f".{name[:80]}.{secrets.token_hex(8)}.part"
        self._file = os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._size = 0

    async def _write(self) -> None:
        file, held = self._file, bytes(self._held)
        assert file is not None
        if shutil.disk_usage(self._workspace.root).free < len(held) + SPARE_BYTES:
            raise BadForm("the disk is full: make space and send the file again", 507)
        self._held.clear()

        def write() -> None:
            rest = memoryview(held)
            while rest:
                rest = rest[os.write(file, rest) :]

        await self._run(write)

    async def _finish(self, name: str) -> None:
        if self._held:
            await self._write()
        file, temporary, folder = self._file, self._temporary, self._folder()
        assert file is not None and temporary is not None

        def place() -> None:
            os.fsync(file)
            os.close(file)
            self._file = None
            self.taken.append(_link(temporary, folder, name))
            temporary.unlink()
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            os.fsync(handle)
            os.close(handle)

        await self._run(place)
        self._temporary, self._size = None, 0

    def abandon(self) -> None:
        """Leave nothing of a file that did not arrive whole."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if self._temporary is not None:
            self._temporary.unlink(missing_ok=True)


async def receive(request: Request, workspace: Workspace, run: Run[None]) -> list[str]:
    """Take the files of a form into the inbox; gives their names there. Raises BadForm."""
    length = request.headers.get("content-length", "0")
    if length.isdigit() and int(length) + SPARE_BYTES > shutil.disk_usage(workspace.root).free:
        raise BadForm("there is not enough space on the disk for this upload", 507)
    upload = Upload(workspace, run)
    try:
        await parts(request, upload.take)
    except OSError as error:
        raise BadForm(f"the file could not be written ({error.strerror})", 507) from error
    finally:
        await asyncio.shield(run(upload.abandon))
    if not upload.taken:
        raise BadForm("choose a .jsonl file first")
    return upload.taken


def label(given: str) -> str:
    """A file name from what the browser said: never a path, never hidden, only .jsonl. Raises BadForm."""
    name = re.split(r"[/\\]", given)[-1]
    name = "".join(c if c.isprintable() else "_" for c in name).lstrip(".").strip()[-150:]
    if not name.lower().endswith(ENDINGS) or len(name) <= len(ENDINGS[0]):
        raise BadForm(f"{given!r}: only .jsonl files can be trained; convert it with `evertrain add`", 415)
    return name


def _link(temporary: Path, folder: Path, name: str) -> str:
    """Give the file its name without ever replacing another: a.jsonl, a-2.jsonl, …"""
    stem, dot, ending = name.rpartition(".")
    for n in range(1, 1000):
        candidate = name if n == 1 else f"{stem}-{n}{dot}{ending}"
        try:
            os.link(temporary, folder / candidate)
        except FileExistsError:
            continue
        return candidate
    raise BadForm(f"{name}: the inbox is full of files of this name", 409)
