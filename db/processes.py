"""Processes: one per role on a workspace, none without its parent, each stops when asked."""

import ctypes
import faulthandler
import fcntl
import json
import os
import signal
import threading
import time
from pathlib import Path

from db.reserve import is_full

PR_SET_PDEATHSIG = 1
PARENT = "EVERTRAIN_PARENT_PID"
GLANCE_SECONDS = 0.5


class RoleTaken(Exception):
    """Another process has this role on the workspace."""

    def __init__(self, role: str, pid: int | None) -> None:
        holder = f"process {pid}" if pid else "another process"
        super().__init__(f"{holder} is already the {role} of this workspace; nothing was changed")
        self.role, self.pid = role, pid


class RoleLock:
    """The OS lock of a role: `flock` on the file's inode, so it dies with its holder."""

    def __init__(self, locks: Path, role: str) -> None:
        self.role = role
        self._path = locks / f"{role}.lock"
        self._file: int | None = None

    def acquire(self, patience: float = 0.0) -> "RoleLock":
        """Take the role. Raises RoleTaken naming the holder.

        `patience` in seconds: `holder` takes any lock for a glance, so a role that must be had asks again.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                pid = _holder(file)
                if time.monotonic() >= deadline:
                    os.close(file)
                    raise RoleTaken(self.role, pid) from error
            time.sleep(0.01)
        os.ftruncate(file, 0)
        try:
            os.pwrite(file, json.dumps({"pid": os.getpid(), "role": self.role}).encode(), 0)
        except OSError as error:
            if not is_full(error):  # the lock is ours all the same; only our name is missing in it
                os.close(file)
                raise
        self._file = file
        return self

    def release(self) -> None:
        """Let go; the lock file stays, for its inode is the lock."""
        if self._file is not None:
            os.ftruncate(self._file, 0)
            os.close(self._file)
            self._file = None

    def __enter__(self) -> "RoleLock":
        return self if self._file is not None else self.acquire(GLANCE_SECONDS)

    def __exit__(self, *error: object) -> None:
        self.release()


def _holder(file: int) -> int | None:
    try:
        return int(json.loads(os.pread(file, 4096, 0))["pid"])
    except (ValueError, KeyError, OSError):
        return None  # taken a moment ago, its name not yet written


def holder(locks: Path, role: str) -> int | None:
    """The pid that has the role now; None when it is free. 0 when taken and nameless."""
    path = locks / f"{role}.lock"
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder(file) or 0
    else:
        return None
    finally:
        os.close(file)


def die_with_parent() -> None:
    """Ask the kernel for SIGKILL at the parent's death; called first thing by every child.

    The parent may have died before the call: then its pid is no longer the one it gave us.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    parent = os.environ.get(PARENT)
    if parent is not None and os.getppid() != int(parent):
        os._exit(1)


def show_places_when_asked() -> None:
    """SIGUSR1: the places of all threads' calls on stderr, values never; works while Python stands still."""
    faulthandler.register(signal.SIGUSR1, all_threads=True)


class Stop:
    """SIGTERM and SIGINT as a flag that loops look at; a second signal changes nothing."""

    def __init__(self) -> None:
        self.signal: str | None = None
        self.event = threading.Event()

    def install(self) -> "Stop":
        """Take over both signals (main thread only)."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._receive)
        return self

    def _receive(self, number: int, frame: object) -> None:
        self.signal = self.signal or signal.Signals(number).name
        self.event.set()

    def __bool__(self) -> bool:
        return self.signal is not None
