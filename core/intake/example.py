"""One row of a file as it is trained, with its mask: made when asked for, and kept nowhere."""

from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from core.intake.formats import expand, parse, read
from core.intake.lines import Lines
from core.intake.problems import BadRow
from core.intake.sequences import Contradiction, add
from core.intake.template import Renderer
from core.settings import Settings


@dataclass(frozen=True, slots=True)
class Segment:
    text: str
    trained: bool


@dataclass(frozen=True, slots=True)
class Example:
    """`segments` make the row, in turn; `tokens` and `trained_tokens` count it."""

    line: int
    tokens: int
    trained_tokens: int
    segments: tuple[Segment, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def example(path: Path, form: str, renderer: Renderer, settings: Settings) -> Example | None:
    """The first row of this format that would be trained, None where there is none. Raises `OSError`."""
    for number, line in Lines(path):
        try:
            values = expand(parse(line)) if line is not None else []
            for value in values:
                made = _made(number, value, form, renderer, settings)
                if made is not None:
                    return made
        except BadRow:
            continue
    return None


def _made(
    number: int, value: dict[str, Any], form: str, renderer: Renderer, settings: Settings
) -> Example | None:
    row = read(value, form)
    if row.is_chat and renderer.chat_problem:
        return None
    with suppress(Contradiction):               # trained as it stands
        row = add(row, settings)
    (encoded,) = renderer.encode([renderer.prepare(row, settings.system_prompt)], settings.max_length)
    ids, labels = encoded.ids[: settings.max_length], encoded.labels[: settings.max_length]
    if not labels.any() or (len(encoded.ids) > len(ids) and settings.too_long != "truncate"):
        return None
    borders = [0, *(np.flatnonzero(np.diff(labels)) + 1).tolist(), len(ids)]
    segments = tuple(
        Segment(renderer.tokenizer.decode(ids[a:b].tolist(), skip_special_tokens=False), bool(labels[a]))
        for a, b in pairwise(borders)
    )
    return Example(number, len(ids), int(labels.sum()), segments)
