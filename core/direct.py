"""A new file that goes past the page cache: written once, hardly ever read.

Through the cache the kernel copies each byte into a fresh page and writes the page out later, on the cores
and the memory bus of the steps that are trained meanwhile, and the disk rests until the file is synced:
measured, that is twice the time and three times the processor time. So whole blocks go straight to the
disk, from memory that is aligned as disks ask for it (open(2), O_DIRECT); a file system that cannot do so
gets them the usual way.
"""

import errno
import fcntl
import mmap
import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

BLOCK = 8 << 20  # bytes written at a time: whole pages


class DirectFile:
    """A file that must not exist yet, private to its user. Entered, it takes the space of its `size` bytes.

    One block is filled while the other is written. Raises OSError when the disk has no room or refuses, at
    the latest where the file is left. What was written is on the disk only after an fsync.
    """

    def __init__(self, path: Path, size: int) -> None:
        self._path, self._size = path, size
        # memory of its own is aligned to a page
        self._blocks = [np.frombuffer(mmap.mmap(-1, BLOCK), np.uint8) for _ in range(2)]
        self._filled = 0  # bytes of the first of them
        self._under_way: Future[None] | None = None

    def __enter__(self) -> "DirectFile":
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with ExitStack() as stack:
            self._descriptor = os.open(self._path, flags, 0o600)
            stack.callback(os.close, self._descriptor)
            os.posix_fallocate(self._descriptor, 0, self._size)
            self._go_direct(True)
            self._writer = stack.enter_context(ThreadPoolExecutor(1, "direct"))
            self._open = stack.pop_all()
        return self

    def write(self, data: memoryview) -> None:
        """The next bytes; kept until a block is full."""
        rest = np.frombuffer(data, np.uint8)
        while len(rest):
            part = rest[: BLOCK - self._filled]
            # by numpy: it lets other threads run meanwhile
            np.copyto(self._blocks[0][self._filled : self._filled + len(part)], part)
            self._filled += len(part)
            rest = rest[len(part) :]
            if self._filled == BLOCK:
                self._send()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._open:
            if kind is None:
                self._settle()
                self._go_direct(False)  # the last block is none of whole pages
                self._put(self._blocks[0][: self._filled].data)

    def _send(self) -> None:
        """The full block goes to the disk, once the one before is there."""
        self._settle()
        self._under_way = self._writer.submit(self._put, self._blocks[0].data)
        self._blocks.reverse()
        self._filled = 0

    def _settle(self) -> None:
        if self._under_way is not None:
            self._under_way.result()

    def _put(self, rest: memoryview) -> None:
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except OSError as error:
                if error.errno != errno.EINVAL or not self._is_direct:
                    raise
                self._go_direct(False)  # a disk that asks for more than pages, or took a part of one

    def _go_direct(self, wanted: bool) -> None:
        flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
        with suppress(OSError):  # a file system that always goes through the cache
            others = flags & ~os.O_DIRECT
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, others | os.O_DIRECT if wanted else others)

    @property
    def _is_direct(self) -> bool:
        return bool(fcntl.fcntl(self._descriptor, fcntl.F_GETFL) & os.O_DIRECT)
