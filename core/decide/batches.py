"""The batches of a file: which rows are held out, and which rows each optimizer step trains, in what order.

All of it is arithmetic on (row hashes, lengths, seed, file hash, epoch, settings): nothing about order is
ever stored but the position, so to resume is to count.
"""

import hashlib
from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.settings import Settings

LOOK_AHEAD = 256  # documents among which the best fitting one is looked for
Rows = NDArray[np.int64]
Step = tuple[Rows, ...]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_LOW = (1 << 32) - 1


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Every value scrambled: the output function of SplitMix64 (Steele, Lea, Flood 2014), stable for ever."""
    with np.errstate(over="ignore"):
        mixed = values + _GOLDEN
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64)


def seed_of(*parts: int) -> int:
    """One seed of 64 bits out of several whole numbers; every part and their order count."""
    state = np.zeros(1, dtype=np.uint64)
    for part in parts:
        state = mix(state ^ mix(np.array([part & (2**64 - 1)], dtype=np.uint64)))
    return int(state[0])


def order(rows: Rows, *, sha256: str, seed: int, epoch: int) -> Rows:
    """The rows in the order of one epoch: a function of (seed, file, epoch, row number) alone."""
    key = seed_of(seed, int(sha256[:16], 16), epoch)
    keys = mix(rows.astype(np.uint64) ^ np.uint64(key))
    return rows[np.argsort(keys, kind="stable")]


def holdout(hashes: NDArray[np.uint8], fraction: float, max_rows: int) -> NDArray[np.bool_]:
    """Which rows are never trained: min(fraction * rows, max_rows) of them, by smallest hash.

    `hashes` is uint8[rows, 32]. Equal rows stay together; where all copies of one would be more than is left
    to hold out, the next hash is tried, so a file of copies is still trained. Less than one row: none.
    """
    held = np.zeros(len(hashes), dtype=np.bool_)
    wanted = min(int(fraction * len(hashes)), max_rows)
    if wanted < 1:
        return held
    by_hash, firsts = _groups(hashes)
    sizes = np.diff(np.append(firsts, len(hashes)))
    for first, size in zip(firsts.tolist(), sizes.tolist(), strict=True):
        if size <= wanted:
            held[by_hash[first : first + size]] = True
            wanted -= size
        if not wanted:
            break
    return held


def distinct(hashes: NDArray[np.uint8], chosen: NDArray[np.bool_]) -> Rows:
    """The chosen rows, one of each content, ascending: what an evaluation reads."""
    rows = np.flatnonzero(chosen)
    by_hash, firsts = _groups(hashes[rows])
    return np.sort(rows[by_hash[firsts]]).astype(np.int64)


def _groups(hashes: NDArray[np.uint8]) -> tuple[Rows, Rows]:
    """Row numbers sorted by hash (ties by number), and where in that order each distinct hash begins."""
    if not len(hashes):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    words = np.ascontiguousarray(hashes).view(">u8")
    by_hash = np.lexsort(tuple(words[:, column] for column in reversed(range(words.shape[1]))))
    ordered = words[by_hash]
    begins = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))
    return by_hash.astype(np.int64), np.flatnonzero(begins).astype(np.int64)


def shared(hashes: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which of these rows stand among the others: bool[rows], from uint8[rows, 32] and uint8[others, 32]."""
    found = np.zeros(len(hashes), dtype=np.bool_)
    if not len(hashes) or not len(others):
        return found
    firsts, wanted = (np.ascontiguousarray(part[:, :8]).view(">u8")[:, 0] for part in (hashes, others))
    known = {bytes(row) for row in others}
    for row in np.flatnonzero(np.isin(firsts, wanted)).tolist():  # nearly always right: all 32 bytes decide
        found[row] = bytes(hashes[row]) in known
    return found


def digests(hashes: NDArray[np.uint8], rows: Rows) -> int:
    """Evidence of which rows were taken: the first 6 bytes of their hashes, summed mod 2^48."""
    if not len(rows):
        return 0
    firsts = np.zeros((len(rows), 8), dtype=np.uint8)
    firsts[:, 2:] = hashes[rows, :6]
    # 2^64 is a multiple of 2^48: an overflowing sum is still right
    return int(firsts.view(">u8").sum(dtype=np.uint64)) % (1 << 48)


def pack(rows: Rows, lengths: NDArray[np.int64], capacity: int) -> list[list[int]]:
    """Windows of at most `capacity` tokens, best fit: the oldest waiting row opens a window, then the longest
    that still fits among the next `LOOK_AHEAD` joins, until none fits.

    Raises ValueError for a row longer than a window.
    """
    if len(rows) and int(lengths[rows].max()) > capacity:
        raise ValueError(
            f"a row of {int(lengths[rows].max())} tokens does not fit a window of {capacity}: "
            "the token store was made with another max_length; validate the file again"
        )
    sizes, numbers = lengths[rows].tolist(), rows.tolist()
    waiting: list[int] = []  # sorted (length, newest first) as one integer: ints compare fastest
    taken = bytearray(len(numbers))
    windows: list[list[int]] = []
    seen = 0
    for oldest in range(len(numbers)):
        if taken[oldest]:
            continue
        room, window, at = capacity, [], -1
        while True:
            while seen < len(numbers) and len(waiting) < LOOK_AHEAD:
                insort(waiting, sizes[seen] << 32 | _LOW - seen)
                seen += 1
            sought = sizes[oldest] << 32 | _LOW - oldest if at < 0 else room << 32 | _LOW
            at = bisect_right(waiting, sought) - 1
            if at < 0:
                break
            entry = waiting.pop(at)
            position = _LOW - (entry & _LOW)
            taken[position] = 1
            window.append(numbers[position])
            room -= entry >> 32
            at = 0
        windows.append(window)
    return windows


def halves(rows: Rows, lengths: NDArray[np.int64], times: int) -> tuple[Rows, ...]:
    """A micro-batch cut in two by tokens, and each part again, `times` over: the same rows in the same order.

    `lengths` int64[rows of the store] in tokens. A single row stays whole, so there may be fewer than
    2 ** times parts; none is empty.
    """
    if times <= 0 or len(rows) < 2:
        return (rows,)
    ends = np.cumsum(lengths[rows])
    cut = 1 + int(np.argmin(np.maximum(ends[:-1], ends[-1] - ends[:-1])))
    return halves(rows[:cut], lengths, times - 1) + halves(rows[cut:], lengths, times - 1)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Every optimizer step of a run, flat: rows in order of training, cut into micro-batches and steps."""

    rows: Rows  # [rows trained, all epochs]
    micro_ends: Rows  # [micro-batches]: where each ends in `rows`
    step_ends: Rows  # [steps]: where each ends in `micro_ends`
    sha256: str  # over all three and what they were made from

    @property
    def steps_planned(self) -> int:
        return len(self.step_ends)

    def step(self, number: int) -> Step:
        """The micro-batches of a step, 1 being the first: row numbers each."""
        first = int(self.step_ends[number - 2]) if number > 1 else 0
        last = int(self.step_ends[number - 1])
        begins = [int(self.micro_ends[i - 1]) if i else 0 for i in range(first, last)]
        return tuple(
            self.rows[begin : int(self.micro_ends[i])]
            for begin, i in zip(begins, range(first, last), strict=True)
        )

    def steps(self, first: int) -> Iterator[Step]:
        """The steps from number `first` on."""
        for number in range(first, self.steps_planned + 1):
            yield self.step(number)


def plan(
    lengths: NDArray[np.int64],
    train_rows: Rows,
    *,
    sha256: str,
    seed: int,
    epochs: int,
    batch_size: int,
    accumulation: int,
    max_length: int,
) -> Plan:
    """What is trained, step by step: each epoch in its own order; its last step may be a short one.

    `lengths` int64[rows of the store] in tokens; `train_rows` the row numbers that are trained; a micro-batch
    is `batch_size` windows of `max_length` tokens, a step `accumulation` micro-batches.
    """
    chosen = np.asarray(train_rows, dtype=np.int64)
    rows: list[Rows] = []
    micro_sizes: list[int] = []
    step_ends: list[int] = []
    for epoch in range(epochs):
        windows = pack(order(chosen, sha256=sha256, seed=seed, epoch=epoch), lengths, max_length)
        before = len(micro_sizes)
        for first in range(0, len(windows), batch_size):
            micro_sizes.append(sum(map(len, windows[first : first + batch_size])))
        step_ends += [
            min(end, len(micro_sizes))
            for end in range(before + accumulation, len(micro_sizes) + accumulation, accumulation)
        ]
        rows.append(
            np.fromiter((row for window in windows for row in window), dtype=np.int64, count=len(chosen))
        )
    flat = np.concatenate(rows) if rows else np.zeros(0, dtype=np.int64)
    micro_ends = np.cumsum(np.array(micro_sizes, dtype=np.int64))
    ends = np.array(step_ends, dtype=np.int64)
    made_from = f"{sha256} {seed} {epochs} {batch_size} {accumulation} {max_length}"
    digest = hashlib.sha256(made_from.encode())
    for part in (flat, micro_ends, ends, lengths[flat]):
        digest.update(len(part).to_bytes(8, "little") + part.astype("<i8").tobytes())
    return Plan(flat, micro_ends, ends, digest.hexdigest())


def cut(made: Plan, lengths: NDArray[np.int64], times: int) -> Plan:
    """The same plan with each micro-batch halved so often: the same steps of the same rows, and its hash."""
    if not times:
        return made
    parts = [[halves(micro, lengths, times) for micro in step] for step in made.steps(1)]
    ends = np.cumsum([len(part) for step in parts for micro in step for part in micro])
    step_ends = np.cumsum([sum(map(len, step)) for step in parts])
    return replace(made, micro_ends=ends.astype(np.int64), step_ends=step_ends.astype(np.int64))


def largest(made: Plan, lengths: NDArray[np.int64], times: int) -> int:
    """Tokens of the largest micro-batch after so many halvings."""
    finer = cut(made, lengths, times)
    tokens = np.append(0, np.cumsum(lengths[finer.rows]))[np.append(0, finer.micro_ends)]
    return int(np.diff(tokens).max(initial=0))


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A file under its settings: what is trained when, and what is only measured."""

    plan: Plan
    train_rows: Rows  # one epoch's, ascending
    holdout_rows: Rows  # what an evaluation reads: one of each content, ascending
    excluded_rows: int = 0  # neither: they stand in the fixed validation set
    halvings: int = 0  # of every micro-batch, so that it fits into memory

    def halved(self, lengths: NDArray[np.int64], times: int) -> "Layout":
        """The same with smaller micro-batches."""
        return replace(self, plan=cut(self.plan, lengths, times), halvings=times)


def lay_out(
    hashes: NDArray[np.uint8],
    lengths: NDArray[np.int64],
    settings: Settings,
    *,
    sha256: str,
    fixed: NDArray[np.uint8] | None = None,
) -> Layout:
    """Hold-out and plan of a token store: whoever has the same file and settings has the same layout.

    `fixed` uint8[rows, 32]: row hashes of the fixed validation set; a row among them is left out of both.
    """
    excluded = shared(hashes, hashes[:0] if fixed is None else fixed)
    rest = np.flatnonzero(~excluded).astype(np.int64)
    held = np.zeros(len(hashes), dtype=np.bool_)
    held[rest] = holdout(hashes[rest], settings.validation_fraction, settings.validation_max_rows)
    train_rows = np.flatnonzero(~held & ~excluded).astype(np.int64)
    made = plan(
        lengths,
        train_rows,
        sha256=sha256,
        seed=settings.seed,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        accumulation=settings.gradient_accumulation,
        max_length=settings.max_length,
    )
    return Layout(made, train_rows, distinct(hashes, held), int(excluded.sum()))
