"""Damage to files: one changed byte, the size as before."""

import random
from pathlib import Path


def change_a_byte(path: Path, chance: random.Random | None = None) -> None:
    """Another content of the same size; never through a hard link."""
    chance = chance or random.Random(path.name)
    raw, mode = bytearray(path.read_bytes()), path.stat().st_mode
    raw[chance.randrange(len(raw))] ^= chance.randrange(1, 256)
    path.unlink()
    path.write_bytes(raw)
    path.chmod(mode)
