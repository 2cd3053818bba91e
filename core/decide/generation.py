"""What a version tells whoever generates with it: penalised sequences and stop strings."""

from collections.abc import Iterable
from typing import Any

from core.settings import StopSequences

NOTE = (
    "An answer ends with one of these strings. The shorter begin the longer: after a match wait for "
    "the first other token, which is the end of the turn, and cut there. They are no stop_strings, because "
    "those would end at the shortest count."
)


def config(
    before: dict[str, Any], penalised: Iterable[tuple[tuple[int, ...], float]], stop: StopSequences | None
) -> dict[str, Any]:
    """generation_config.json with `sequence_bias`, negative, and `stop_sequences`; what was there stays.

    `penalised`: token ids and weight of each penalised text. transformers applies `sequence_bias` by itself;
    `stop_sequences` is a key of ours, which it keeps and leaves alone.
    """
    after = dict(before)
    ours: dict[tuple[int, ...], float] = {}
    for ids, weight in penalised:
        ours[ids] = ours.get(ids, 0.0) - weight  # a text named twice is penalised twice in training, too
    if ours:
        theirs = [entry for entry in before.get("sequence_bias") or [] if tuple(entry[0]) not in ours]
        after["sequence_bias"] = [*theirs, *([list(ids), bias] for ids, bias in ours.items())]
    if stop is not None:
        after["stop_sequences"] = {"strings": stop_strings(stop), "note": NOTE}
    return after


def stop_strings(stop: StopSequences) -> list[str]:
    """Every text of the pool in every count, longest first: of two that match, the longer counts."""
    written = [text * count for text in stop.pool for count in range(stop.min, stop.max + 1)]
    return sorted(written, key=len, reverse=True)


def card(stop: StopSequences) -> str:
    """The model card's section on stop sequences, in Markdown."""
    listed = "".join(f"- `{text}`\n" for text in stop_strings(stop))
    return f"## Stop sequences\n\n{NOTE}\n\n{listed}"
