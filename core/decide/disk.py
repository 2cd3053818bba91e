"""How much free space must there be before anything new starts?"""

FLOOR_SHARE = 0.05  # disk_floor_gb is capped at this share of the disk


def floor_bytes(disk_floor_gb: float, total_bytes: int) -> float:
    """Bytes; below it nothing new starts. The cap keeps a small disk usable under the default floor."""
    return min(disk_floor_gb * 1e9, FLOOR_SHARE * total_bytes)
