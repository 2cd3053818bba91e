"""Is the workspace's place fit for it: log, disk, file system, permissions?"""

import os
import stat
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from core.decide.disk import floor_bytes
from core.doctor.finding import OK, PROBLEM, WARN, Finding
from core.settings import Settings

if TYPE_CHECKING:
    from db.workspace import Workspace

SYNCS = 64
BLOCK = bytes(4096)
IMPLAUSIBLE_US, SLOW_US = 20.0, 20_000.0
NETWORK = frozenset(
    {"9p", "afs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"}
)
FLEETING = frozenset({"tmpfs", "ramfs"})


def log(path: Path) -> Finding:
    """The log opens, with every pragma as it must be."""
    from db.engine import PRAGMAS, LogUnreadable, connect

    try:
        connection = connect(path, read_only=True)
    except LogUnreadable as error:
        return Finding("log", PROBLEM, str(error), "see `evertrain verify`; restore the log from a backup")
    try:
        head = connection.execute("SELECT COALESCE(MAX(seq), 0) FROM event").fetchone()[0]
    finally:
        connection.close()
    return Finding("log", OK, f"{head:,} facts, {path.stat().st_size:,} bytes; {len(PRAGMAS)} pragmas hold")


def syncs(folder: Path) -> list[float]:
    """µs of each of 64 writes of 4 KiB with fdatasync: what one acknowledged fact costs here."""
    found = []
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(SYNCS):
            began = time.perf_counter_ns()
            file.write(BLOCK)
            os.fdatasync(file.fileno())
            found.append((time.perf_counter_ns() - began) / 1000)
    return found


def sync_latency(samples: list[float]) -> Finding:
    """µs in: is it a disk that answers in time?"""
    median = statistics.median(samples)
    p99 = sorted(samples)[min(len(samples) - 1, int(len(samples) * 0.99))]
    detail = f"write of 4 KiB and fdatasync: median {median / 1000:.3f} ms, p99 {p99 / 1000:.3f} ms"
    if median < IMPLAUSIBLE_US:
        remedy = "no disk is that fast: use a disk that keeps what it acknowledged through a power cut"
        return Finding("sync_latency", WARN, detail, remedy)
    if median > SLOW_US:
        return Finding("sync_latency", WARN, detail, "put the workspace on a faster local disk, best an SSD")
    return Finding("sync_latency", OK, detail)


def kind_of(folder: Path) -> str:
    """The file system's type as the kernel names it; `unknown` where no mount is listed."""
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    whole = folder.resolve()
    return next((mounts[place] for place in (whole, *whole.parents) if place in mounts), "unknown")


def file_system(folder: Path, workspace: "Workspace", kind: str) -> Finding:
    """Local, one for queue and models each, with hard links."""
    apart = [
        path.relative_to(workspace.root).as_posix()
        for path in (workspace.private, workspace.queue, workspace.models, *workspace.folders())
        if path.is_dir() and path.stat().st_dev != folder.stat().st_dev
    ]
    if apart:
        detail = f"on another file system than the workspace: {', '.join(dict.fromkeys(apart))}"
        remedy = "move the whole workspace instead of linking or mounting a part: files are renamed inside it"
        return Finding("file_system", PROBLEM, detail, remedy)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".evertrain-doctor-") as name:
            (Path(name) / "one").touch()
            os.link(Path(name) / "one", Path(name) / "two")
            os.rename(Path(name) / "two", Path(name) / "three")
    except OSError as error:
        detail = f"{kind}: hard link and rename fail ({error.strerror})"
        return Finding("file_system", PROBLEM, detail, "put the workspace on ext4, xfs, btrfs or zfs")
    if kind in NETWORK:
        remedy = "put the workspace on a local disk: locks and shared memory of the log need one"
        return Finding("file_system", WARN, f"{kind} is a network file system", remedy)
    if kind in FLEETING:
        return Finding("file_system", WARN, f"{kind} is gone after a reboot", "put the workspace on a disk")
    return Finding("file_system", OK, f"{kind}; hard links and renames work")


def disk(free: int, whole: int, settings: Settings) -> Finding:
    """Bytes free against the settings."""
    floor, target = floor_bytes(settings.disk_floor_gb, whole), settings.disk_target_gb * 1e9
    detail = f"{free / 1e9:.1f} GB free of {whole / 1e9:.1f} GB, the floor is {floor / 1e9:.1f} GB"
    if free < floor:
        return Finding("disk", PROBLEM, detail, "make space; it goes on by itself (disk_floor_gb)")
    if free < target:
        remedy = "make space, or lower checkpoints_keep or disk_target_gb"
        return Finding("disk", WARN, f"{detail}; disk_target_gb is {target / 1e9:g} GB", remedy)
    return Finding("disk", OK, detail)


def permissions(folder: Path, is_workspace: bool) -> Finding:
    """Writable, and for its owner alone."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        detail = f"{folder} cannot be written ({error.strerror})"
        return Finding("permissions", PROBLEM, detail, f"give it to this user: chown {os.getuid()} {folder}")
    status = folder.stat()
    mode = stat.S_IMODE(status.st_mode)
    if is_workspace and status.st_uid != os.getuid():
        detail = f"{folder} belongs to user {status.st_uid}, not to {os.getuid()}"
        return Finding("permissions", PROBLEM, detail, "run evertrain as its owner")
    if is_workspace and mode & 0o077:
        return Finding("permissions", WARN, f"mode {mode:04o}: others see your data", f"chmod 700 {folder}")
    return Finding("permissions", OK, f"{folder} is writable, mode {mode:04o}")
