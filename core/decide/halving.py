"""Micro-batches that did not fit into memory, in halves: the same step, a part at a time. Pure.

How often those of a step are halved follows from the log alone, so that a step done again is cut the same.
"""

from collections.abc import Mapping

from core.decide.batches import Rows, Step, halves

MOST = 3  # times: an eighth of what was asked for


def in_force(halvings: Mapping[int, int], step: int) -> int:
    """How often the micro-batches of this step are halved; `halvings`: first step → how often from it on."""
    return max((times for first, times in halvings.items() if first <= step), default=0)


def halved(micro_batches: Step, lengths: Rows, times: int) -> Step:
    """The micro-batches cut in two, `times` times, in the same order; `lengths` int64[rows of the store].

    Rows stay whole, so each cut comes as near to the middle as they allow; one row alone is not cut.
    """
    return tuple(part for rows in micro_batches for part in halves(rows, lengths, times))
