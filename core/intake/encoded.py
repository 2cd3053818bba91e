"""A row as tokens, and where in its text a token stands."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from core.intake.rows import Turn


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row: `ids` uint32[n] and `labels` uint8[n]; 1 marks a token learned from the one before it."""

    ids: NDArray[np.uint32]
    labels: NDArray[np.uint8]


def first_token_from(encoding: Encoding, begin: int, end: int) -> int:
    """The first token with no character before `begin` (a token may span the border; it is not ours)."""
    for position in range(begin, end):
        token = encoding.char_to_token(position)
        if token is not None:
            span = encoding.token_to_chars(token)
            return int(token) + (span is not None and span[0] < begin)
    return len(encoding)


def cut(pieces: list[tuple[str, Turn]], room: int | None) -> list[tuple[str, Turn]]:
    """The pieces up to `room` characters in all (None: any number)."""
    if room is None or sum(len(text) for text, _ in pieces) <= room:
        return pieces
    kept = []
    for text, turn in pieces:
        kept.append((text[:room], turn))
        room -= len(text)
        if room <= 0:
            break
    return kept
