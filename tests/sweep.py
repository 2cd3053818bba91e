"""The sweep: a piece of work killed before each of its file-system steps in turn, until it runs through."""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

#: CPython's audit events of calls that change a file system; `os.replace` is told as `os.rename`.
STEPS = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"}
MOST = 2000


def killed_at_every_step(prepare: Callable[[int], Path], work: Callable[[Path], None]) -> Iterator[Path]:
    """Yield each workspace as a SIGKILL left it: before the first step, the second … (so after each, too).

    `prepare(n)` makes a fresh workspace for the nth trial; `work` runs in a forked child, and must open what
    it uses itself (no connection outlives a fork). Ends after the first trial that is not killed; its
    workspace is yielded as well. A child that raises fails the test.
    """
    for n in range(1, MOST):
        root = prepare(n)
        child = os.fork()
        if child == 0:
            _run(root, work, n)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert killed or os.waitstatus_to_exitcode(status) == 0, f"trial {n} failed: see its trace above"
        yield root
        if not killed:
            print(f"killed before each of {n - 1} steps")
            return
    raise AssertionError(f"still killed after {MOST} steps: it never ends")


def _run(root: Path, work: Callable[[Path], None], at: int) -> None:
    """In the child: count the steps inside `root`, die before the one that is due."""
    count = 0

    def step(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        changes = event in STEPS or (event == "open" and _writes(arguments))
        if changes and any(_place(argument).startswith(str(root)) for argument in arguments):
            count += 1
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(step)
    try:
        work(root)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _place(argument: object) -> str:
    """An argument as an absolute path, also where it is the folder a relative name is meant in."""
    if isinstance(argument, int) and argument > 2:
        try:
            return os.readlink(f"/proc/self/fd/{argument}")
        except OSError:
            return ""
    return os.fsdecode(argument) if isinstance(argument, str | bytes) else str(argument)


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2] if len(arguments) > 2 and isinstance(arguments[2], int) else 0
    return bool(flags & (os.O_WRONLY | os.O_RDWR))
