"""Rows that were there before: earlier in the file, or in files that were trained already. Bounded."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.intake.tokens import StoreDamaged, TokenStore

#: Rows of a file, and of trained files together, that are compared: memory must not grow with the data.
COMPARED = 2_000_000

_CHUNK = 1 << 16


@dataclass(slots=True)
class Fingerprints:
    """Eight bytes of each accepted row's hash with its line: twelve bytes a row, up to `COMPARED` rows."""

    prefixes: "array[int]" = field(default_factory=lambda: array("Q"))
    lines: "array[int]" = field(default_factory=lambda: array("I"))
    complete: bool = True

    def add(self, row_sha256: bytes, line: int) -> None:
        if len(self.lines) < COMPARED:
            self.prefixes.append(int.from_bytes(row_sha256[:8], "little"))
            self.lines.append(line)
        else:
            self.complete = False

    @classmethod
    def of(cls, store: TokenStore) -> "Fingerprints":
        """Those of the rows in a store."""
        made = cls(complete=store.rows <= COMPARED)
        made.prefixes.frombytes(_prefixes(store.hashes[:COMPARED]).tobytes())
        made.lines.frombytes(store.line_numbers[:COMPARED].tobytes())
        return made

    def again(self) -> NDArray[np.uint32]:
        """The lines whose row stood on an earlier line, ascending."""
        prefixes = np.frombuffer(self.prefixes, np.uint64)
        order = np.argsort(prefixes, kind="stable")
        ordered = prefixes[order]
        again = order[np.flatnonzero(ordered[1:] == ordered[:-1]) + 1]
        return np.frombuffer(self.lines, np.uint32)[np.sort(again)]

    def among(self, trained: Sequence[Path]) -> NDArray[np.uint32]:
        """The lines whose row is in one of these stores (the first ones first), ascending."""
        own = np.frombuffer(self.prefixes, np.uint64)
        order = np.argsort(own, kind="stable")
        ordered, found = own[order], np.zeros(len(own), np.bool_)
        for theirs in _chunks(trained):
            theirs = np.unique(theirs)
            first = np.searchsorted(ordered, theirs, "left")
            last = np.searchsorted(ordered, theirs, "right")
            for a, b in zip(first[first < last].tolist(), last[first < last].tolist(), strict=True):
                found[order[a:b]] = True
        return np.frombuffer(self.lines, np.uint32)[found]


def _chunks(stores: Sequence[Path]) -> Iterator[NDArray[np.uint64]]:
    room = COMPARED
    for folder in stores:
        try:
            hashes = TokenStore.open(folder).hashes[:room]
        except StoreDamaged:
            continue                            # swept, or to be written anew: nothing to compare with
        room -= len(hashes)
        for first in range(0, len(hashes), _CHUNK):
            yield _prefixes(hashes[first : first + _CHUNK])


def _prefixes(hashes: NDArray[np.uint8]) -> NDArray[np.uint64]:
    found: NDArray[np.uint64] = np.ascontiguousarray(hashes[:, :8]).view("<u8").reshape(-1)
    return found
