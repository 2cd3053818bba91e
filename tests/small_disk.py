"""A small disk of the test's own, filled to its last byte and freed again."""

import contextlib
import os
import shutil
from pathlib import Path

TRIES = 10_000


class SmallDisk:
    """A mounted file system. The filler is another program's: a file beside the workspace."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.filler = root / "filler"

    @property
    def free(self) -> int:
        return shutil.disk_usage(self.root).free

    def fill(self, leave: int = 0) -> None:
        """Somebody else takes all but `leave` bytes."""
        file = os.open(self.filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            for _ in range(TRIES):
                if (rest := self.free - leave) <= 0:
                    return
                with contextlib.suppress(OSError):  # a service at work took some of it meanwhile
                    os.posix_fallocate(file, os.fstat(file).st_size, rest)
        finally:
            os.close(file)
        raise AssertionError(f"{self.root} cannot be filled: {self.free} bytes are free")

    def relieve(self) -> None:
        """And gives it back."""
        with contextlib.suppress(FileNotFoundError):
            self.filler.unlink()
