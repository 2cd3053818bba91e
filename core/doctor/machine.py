"""Is the machine fit for it: port, clock, GPU, memory?"""

import errno
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from core.doctor.finding import OK, PROBLEM, WARN, Finding

EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)  # older than any release
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
PAUSE, TOLERANCE = 0.05, 0.5  # seconds
GIB = 1 << 30
SCARCE_GIB, TOO_LITTLE_GIB = 4, 1


def port(number: int, locks: Path) -> Finding:
    """Free, or held by this workspace's own monitor."""
    from db.processes import holder

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", number))
            probe.listen(1)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            why = "is taken by another program" if taken else f"cannot be opened ({error.strerror})"
        else:
            return Finding("port", OK, f"{number} is free")
    monitor = holder(locks, "monitor")
    if monitor and listens(monitor, number):
        return Finding("port", OK, f"{number} is this workspace's monitor (process {monitor})")
    return Finding("port", PROBLEM, f"{number} {why}", "free it, or `evertrain serve --port` with another")


def listens(pid: int, number: int) -> bool:
    """Does this process listen on the port?"""
    try:
        connections = psutil.Process(pid).net_connections(kind="inet")
    except psutil.Error:
        return False
    return any(c.laddr.port == number for c in connections if c.status == psutil.CONN_LISTEN)


def ticks() -> tuple[float, float]:
    """Seconds that the wall clock and the monotonic clock gained over one short sleep."""
    wall, steady = time.time(), time.monotonic()
    time.sleep(PAUSE)
    return time.time() - wall, time.monotonic() - steady


def clock(now: datetime, newest: datetime | None, gained: tuple[float, float]) -> Finding:
    """A plausible UTC time, not before the newest fact, and both clocks going forward alike."""
    remedy = "set the clock, best by NTP (timedatectl set-ntp true)"
    if not EARLIEST <= now < LATEST:
        return Finding("clock", PROBLEM, f"{now:%Y-%m-%d %H:%M:%S} UTC cannot be", remedy)
    wall, steady = gained
    if steady <= 0 or abs(wall - steady) > TOLERANCE:
        detail = f"the clock gained {wall:.3f} s while {steady:.3f} s passed"
        return Finding("clock", WARN, detail, f"it is being set just now; {remedy}")
    if newest is not None and newest > now:
        return Finding("clock", WARN, f"the newest fact is of {newest:%Y-%m-%d %H:%M:%S}, in future", remedy)
    return Finding("clock", OK, f"{now:%Y-%m-%d %H:%M:%S} UTC, going forward")


def gpu(cards: list[dict[str, Any]], driver: str | None, device: str) -> Finding:
    """The cards that the driver shows, and whether torch computes on them."""
    if not cards:
        remedy = "a GPU needs NVIDIA's driver (nvidia-smi); without one training works, slowly, on the CPU"
        return Finding("gpu", WARN, "no GPU visible", remedy)
    names = ", ".join(
        f"{card['name'] or 'unnamed'}"
        + (f" {card['memory_total_bytes'] / GIB:.1f} GiB" if card["memory_total_bytes"] else "")
        for card in cards
    )
    detail = f"{names}; driver {driver or 'unknown'}"
    if device != "cuda":
        remedy = "install torch's build for this driver's CUDA into .venv, or update the driver"
        return Finding("gpu", PROBLEM, f"{detail}; torch does not see it", remedy)
    return Finding("gpu", OK, detail)


def ram(available: int, whole: int) -> Finding:
    """Bytes available."""
    detail = f"{available / GIB:.1f} GiB available of {whole / GIB:.1f} GiB"
    if available < TOO_LITTLE_GIB * GIB:
        return Finding("ram", PROBLEM, detail, "end other programs: not even the libraries fit")
    if available < SCARCE_GIB * GIB:
        return Finding("ram", WARN, detail, f"end other programs: {SCARCE_GIB} GiB are advised")
    return Finding("ram", OK, detail)
