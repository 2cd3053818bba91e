"""The disk: bytes by kind, the limits below which it is cleaned or waited for, and how long it will last."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from events.types import Recorded, ResourcesSampled

#: The settings in GB are capped at these shares of the disk, so that a small one stays usable.
FLOOR_SHARE, TARGET_SHARE = 0.05, 0.20
KINDS = ("log", "checkpoints", "versions", "backups", "tokens", "files", "logs", "base", "other")
DAY_US = 86_400_000_000
LEAST_SPAN_US = 3_600_000_000  # a shorter history says nothing about days to come
DAY_SAMPLES = 1440  # ResourcesSampled facts of one day: growth is that of the newest
POINTS = 120  # of the history, at most: a slope is taken through each pair


def floor_bytes(disk_floor_gb: float, total_bytes: int) -> float:
    """Below it nothing new starts."""
    return min(disk_floor_gb * 1e9, FLOOR_SHARE * total_bytes)


def target_bytes(disk_target_gb: float, total_bytes: int) -> float:
    """Below it what can be spared is cleaned away."""
    return min(disk_target_gb * 1e9, TARGET_SHARE * total_bytes)


def history(samples: Sequence[Recorded]) -> list[tuple[int, float]]:
    """(µs, free bytes) of each ResourcesSampled, the median of its minute; thinned to so many points."""
    found = []
    for recorded in samples:
        event = recorded.event
        if isinstance(event, ResourcesSampled):
            free = [value for value in event.columns.get("disk_free_bytes", []) if value is not None]
            if free:
                found.append((recorded.at, float(median(free))))
    stride = -(-len(found) // POINTS) or 1
    return found[::-stride][::-1]


def growth(points: Sequence[tuple[int, float]]) -> float | None:
    """Bytes a day by which free space shrinks (negative: it grows); None: not known yet.

    The median of the slopes through all pairs of points (Theil 1950, Sen 1968): one large clean-up or one
    copied file does not bend it.
    """
    if len(points) < 2 or max(at for at, _ in points) - min(at for at, _ in points) < LEAST_SPAN_US:
        return None
    slopes = [
        (before - after) / (late - early) * DAY_US
        for n, (early, before) in enumerate(points)
        for late, after in points[n + 1 :]
        if late > early
    ]
    return median(slopes) if slopes else None


def document(
    *,
    free_bytes: int,
    total_bytes: int,
    config: Mapping[str, Any],
    kinds: Mapping[str, int],
    reclaimable: Mapping[str, int],
    samples: Sequence[Recorded] = (),
) -> dict[str, Any]:
    """The disk document of CONTRACT, with growth and what a clean-up would free, by kind.

    `config`: the settings in force. `kinds`, `reclaimable`: bytes as measured (the daemon's heartbeat
    sample holds both under `usage`). `samples`: the newest DAY_SAMPLES ResourcesSampled facts, oldest first.
    """
    per_day = growth(history(samples))
    floor = int(floor_bytes(float(config["disk_floor_gb"]), total_bytes))
    shrinks = per_day is not None and per_day > 0
    return {
        "free_bytes": free_bytes,
        "total_bytes": total_bytes,
        "floor_bytes": floor,
        "target_bytes": int(target_bytes(float(config["disk_target_gb"]), total_bytes)),
        "kinds": {kind: kinds.get(kind, 0) for kind in KINDS},
        "reclaimable_bytes": sum(reclaimable.values()),
        "reclaimable": dict(reclaimable),
        "growth_bytes_per_day": per_day,
        "days_left": max(0.0, free_bytes - floor) / per_day if shrinks and per_day else None,
    }
