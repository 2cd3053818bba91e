"""A process that dies in a chosen way, as the trainer would: `-m tests.core.safety.dying KIND NOTES`."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from core.decide.crash import PHRASES
from db.notes import leave_note

#: Stands for a row of somebody's data, a token, a password: it must not get into any fact.
CANARY = "canary-7f3a9c"
NOTES = Path(sys.argv[2]) if len(sys.argv) > 2 else Path()


def segfault() -> None:
    import ctypes

    ctypes.string_at(0)


def memory_error() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
    bytearray(1 << 40)


def disk_full() -> None:
    with open("/dev/full", "w") as file:
        file.write(CANARY)


def import_error() -> None:
    __import__(CANARY)


def permission_error() -> None:
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        open("/etc/shadow").close()
    finally:
        os.seteuid(os.getuid())


def connection_error() -> None:
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
    socket.create_connection(("127.0.0.1", port), 5)


def timeout() -> None:
    import socket

    ours, _theirs = socket.socketpair()
    ours.settimeout(0.01)
    ours.recv(1)


def multiprocessing_error() -> None:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    with ProcessPoolExecutor(1, get_context("fork")) as pool:
        pool.submit(os._exit, 9).result()


def bad_config() -> None:
    from core.config import load

    config = NOTES / "config.json"
    config.write_text(f'{{"epochs": "{CANARY}"}}', encoding="utf-8")
    load(config)


def log_error() -> None:
    from core.logbook import open_log
    from db.workspace import Workspace

    workspace = Workspace(NOTES / "broken")
    workspace.lay_out()
    workspace.log.write_bytes(CANARY.encode() * 1000)
    open_log(workspace, "daemon")


def refused() -> None:
    from core.train.refusals import PackingUnsafe

    raise PackingUnsafe("the rows of a window are not kept apart")


def caused() -> None:
    """What a library made of a full disk."""
    try:
        disk_full()
    except OSError as error:
        raise RuntimeError(f"could not save {CANARY}") from error


def raising(error: type[Exception], *said: object) -> Callable[[], None]:
    def die() -> None:
        raise error(*said)

    return die


def killed(number: signal.Signals) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def asserted() -> None:
    raise AssertionError(CANARY)


#: How to die → the category it must be given.
KINDS: dict[str, tuple[Callable[[], object], str]] = {
    "segfault": (segfault, "segfault"),
    "bus error": (killed(signal.SIGBUS), "segfault"),
    "abort": (os.abort, "aborted"),
    "illegal instruction": (killed(signal.SIGILL), "illegal_instruction"),
    "kill": (killed(signal.SIGKILL), "process_killed"),
    "term": (killed(signal.SIGTERM), "stopped"),
    "memory": (memory_error, "memory_error"),
    "disk": (disk_full, "disk_full"),
    "disk behind a library": (caused, "disk_full"),
    "disk by text": (raising(RuntimeError, f"I/O error: No space left on device {CANARY}"), "disk_full"),
    "import": (import_error, "import_error"),
    "file": (lambda: Path(f"/{CANARY}").read_text(), "file_not_found"),
    "permission": (permission_error, "permission_error"),
    "io": (lambda: Path("/").read_text(), "io_error"),
    "connection": (connection_error, "connection_error"),
    "timeout": (timeout, "timeout"),
    "pool": (multiprocessing_error, "multiprocessing_error"),
    "cuda memory": (raising(RuntimeError, f"CUDA out of memory. Tried to {CANARY}"), "cuda_oom"),
    "cuda": (raising(RuntimeError, f"CUDA error: an illegal memory access {CANARY}"), "cuda_error"),
    "config": (bad_config, "bad_config"),
    "log": (log_error, "log_error"),
    "refused": (refused, "refused"),
    "assertion": (asserted, "assertion_error"),
    "key": (lambda: {}[CANARY], "key_error"),
    "value": (lambda: int(CANARY), "value_error"),
    "value that speaks of CUDA": (raising(ValueError, f"CUDA error {CANARY}"), "value_error"),
    "type": (raising(TypeError, CANARY), "type_error"),
    "runtime": (raising(RuntimeError, CANARY), "runtime_error"),
    "exit": (lambda: sys.exit(7), "unknown"),
}

if __name__ == "__main__":
    print(CANARY, f"password={CANARY}", flush=True)
    die, _ = KINDS[sys.argv[1]]
    if sys.argv[3:] == ["unnoted"]:
        die()
    else:
        with leave_note(NOTES, "trainer", PHRASES):
            die()
