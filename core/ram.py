"""Main memory: what this process may still have, what it holds, and the most it has held. Linux."""

import os
from pathlib import Path

import psutil

RESET_PEAK = "5"  # the kernel's document on /proc/PID/clear_refs
FILES = {  # of a control group: limit, use, statistics
    "v2": ("memory.max", "memory.current", "memory.stat"),
    "v1": ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat"),
}


def available(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that may be taken without ending another program: of the machine, free swap included, and of
    every control group that this process is in."""
    machine = int(psutil.virtual_memory().available + psutil.swap_memory().free)
    return max(0, min([machine, *_left_in_groups(proc, groups)]))


def held() -> int:
    """Bytes that this process has in main memory now."""
    return int(psutil.Process().memory_info().rss)


def begin_peak() -> bool:
    """From now on `peak` is that of what comes; False where the kernel keeps that of the whole life."""
    try:
        Path("/proc/self/clear_refs").write_text(RESET_PEAK, encoding="ascii")
    except OSError:
        return False
    return True


def peak() -> int:
    """The most bytes that this process had in main memory since `begin_peak`."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def _left_in_groups(proc: Path, groups: Path) -> list[int]:
    """Limit less use of each group that has a limit; what is cached of files can be had back."""
    found = []
    for folder, kind in _groups(proc, groups):
        limit, use, statistics = (folder / name for name in FILES[kind])
        try:
            bound, used = limit.read_text(encoding="ascii").strip(), int(use.read_text(encoding="ascii"))
            counts = dict(line.split() for line in statistics.read_text(encoding="ascii").splitlines())
        except (OSError, ValueError):
            continue
        if bound.isdigit():
            cached = int(counts.get("inactive_file", 0))
            found.append(int(bound) - used + min(cached, used))
    return found


def _groups(proc: Path, groups: Path) -> list[tuple[Path, str]]:
    """Our memory groups up to their root: a limit of any of them holds."""
    try:
        lines = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        root, kind = (groups / "memory", "v1") if controllers else (groups, "v2")
        inner = root / os.path.normpath(path.lstrip("/") or ".")
        found += [(folder, kind) for folder in (inner, *inner.parents) if folder.is_relative_to(root)]
    return found
