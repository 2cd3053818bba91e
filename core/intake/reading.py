"""One pass over a file: every row parsed, rendered, tokenized and counted, in blocks of bounded size."""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np

from core.intake import sequences
from core.intake.encoded import Encoded
from core.intake.formats import READERS, expand, parse, read, recognise
from core.intake.lines import FileTooLarge, Lines
from core.intake.messages import doubtful_calls
from core.intake.problems import BadRow
from core.intake.report import Tally, leaks
from core.intake.rows import Json, Row
from core.intake.spans import Written
from core.intake.template import Renderer
from core.intake.tokens import StoreWriter
from core.settings import Settings
from events.heartbeat import moved

BLOCK_ROWS, BLOCK_CHARACTERS = 256, 1_000_000       # rows tokenized at a time: what memory is needed for

Progress = Callable[[int, int], None]

# Line, the row as it stands there, as it is rendered, and what the base's own template writes, if asked.
Found = tuple[int, Row, Row, Written | None]


def read_all(
    path: Path, sha256: str, renderer: Renderer, settings: Settings, tally: Tally,
    writer: StoreWriter | None, progress: Progress | None, expected: str | None,
) -> str:
    """Read as rows of `expected`, or of the format that the first rows speak of; gives that of most rows."""
    lines, size = Lines(path), path.stat().st_size
    seen: Counter[str] = Counter()

    def hear() -> None:
        moved()
        if progress is not None:
            progress(lines.bytes_read, size)

    try:
        values = _values(lines, seen, hear)
        first = deque(_first(values, lines))
        tally.format = expected or _most(seen)
        # a long row goes when it is done with
        unread = chain((first.popleft() for _ in range(len(first))), values)
        if tally.format != "text" and tally.format in READERS and renderer.chat_problem:
            tally.refuse("chat_unsupported", f"this base cannot learn chats: {renderer.chat_problem}")
            for _ in unread:
                pass
            return _most(seen)
        for block in _blocks(unread, renderer, settings, tally):
            _take(block, renderer, settings, tally, writer)
            hear()
    except FileTooLarge as error:
        tally.refuse("file_too_large", str(error))
        return tally.format
    if lines.has_bom:
        tally.warnings.append("bom: the file begins with a byte order mark, which was skipped")
    if lines.digest != sha256:
        tally.refuse("changed", "the file changed while it was read: add it again when it is complete")
        return tally.format
    if not tally.rows:
        tally.refuse("no_rows", "the file has no rows")
    tally.find_duplicates()
    return _most(seen)


def _values(
    lines: Lines, seen: Counter[str], hear: Callable[[], None],
) -> Iterator[tuple[int, Json | BadRow]]:
    """Every line's object, or what is wrong with it; `seen` counts their formats."""
    for number, line in lines:
        if number % 4096 == 0:
            hear()                              # a chance to stop where no row is usable
        try:
            if line is None:
                raise BadRow("line_too_long", f"the line is longer than {lines.line_limit:,} bytes")
            value = parse(line)
            line = None                         # of a long one the text is enough
        except BadRow as problem:
            yield number, problem
            continue
        if (found := recognise(value)) is not None:
            seen[found] += 1
        yield number, value


def _first(
    values: Iterator[tuple[int, Json | BadRow]], lines: Lines,
) -> Iterator[tuple[int, Json | BadRow]]:
    for value in islice(values, BLOCK_ROWS):
        yield value
        if lines.bytes_read > BLOCK_CHARACTERS:
            return


def _most(seen: Counter[str]) -> str:
    """Of equally many the first in order of the name: the same file has the same format always."""
    return min(seen, key=lambda name: (-seen[name], name), default="unknown")


def _blocks(
    values: Iterator[tuple[int, Json | BadRow]], renderer: Renderer, settings: Settings, tally: Tally,
) -> Iterator[list[Found]]:
    """Usable rows, a bounded number at a time; the others are noted."""
    block: list[Found] = []
    characters = 0
    for number, value in values:
        for each in [value] if isinstance(value, BadRow) else expand(value):
            tally.rows += 1
            try:
                if isinstance(each, BadRow):
                    raise each
                row = read(each, tally.format)
                changed = _with_sequences(number, row, settings, tally)
                ready = renderer.prepare(changed, settings.system_prompt)
                written = renderer.check(ready)
            except BadRow as problem:
                tally.note(number, problem.code, str(problem))
                continue
            block.append((number, row, ready, written))
            characters += len(written.text) if written else sum([len(turn.text) for turn in ready.turns])
            if len(block) >= BLOCK_ROWS or characters >= BLOCK_CHARACTERS:
                yield block
                block, characters = [], 0
    yield block


def _take(
    block: list[Found], renderer: Renderer, settings: Settings, tally: Tally, writer: StoreWriter | None,
) -> None:
    ready_rows, written = [ready for _, _, ready, _ in block], [written for *_, written in block]
    rows = renderer.encode(ready_rows, settings.max_length, written)
    for (line, row, ready, _), encoded in zip(block, rows, strict=True):
        length = len(encoded.ids)
        tally.lengths[length] += 1
        if length > settings.max_length:
            if settings.too_long != "truncate" or _cuts_a_stop(ready, encoded, settings):
                tally.note(line, "too_long", f"{length} tokens, max_length is {settings.max_length}")
                continue
            tally.note(line, "truncated", f"{length} tokens, cut to {settings.max_length}")
            encoded = Encoded(encoded.ids[:settings.max_length], encoded.labels[:settings.max_length])
        trained = int(np.count_nonzero(encoded.labels))
        if not trained:
            tally.note(line, "no_trainable_token", "no token would be trained")
            continue
        row_sha256 = row.sha256
        tally.accept(line, row_sha256, len(encoded.ids), trained)
        _warn(line, row, renderer, tally)
        if writer is not None:
            writer.append(encoded, row_sha256, line)


def _with_sequences(line: int, row: Row, settings: Settings, tally: Tally) -> Row:
    """Think and stop sequences touch no system turn, so they may come before the system prompt as well."""
    try:
        return sequences.add(row, settings)
    except sequences.Contradiction as problem:
        tally.note(line, "sequence_conflict", str(problem))
        return row


def _cuts_a_stop(row: Row, encoded: Encoded, settings: Settings) -> bool:
    """Would cutting to max_length keep a part of an answer without the stop sequence it ends with?"""
    last, next_one = encoded.labels[settings.max_length - 1 : settings.max_length + 1]
    if not (row.is_chat and last and next_one):
        return False                            # the cut is not inside an answer
    labels = encoded.labels[: settings.max_length].astype(np.int8)
    begun = int((np.diff(labels) == 1).sum())   # a header stands before each answer, so each begins a run
    return sequences.has_stop([turn for turn in row.turns if turn.trained][begun - 1], settings)


def _warn(line: int, row: Row, renderer: Renderer, tally: Tally) -> None:
    if row.is_chat and row.turns[-1].role != "assistant":
        tally.note(line, "last_turn_not_assistant", "the last message is not by the assistant")
    if any([renderer.spells_control(turn.text) for turn in row.turns]):
        tally.note(line, "control_text", "a control token is spelled out in the text")
    if leaks(row):
        tally.note(line, "leakage", "the answer stands word for word in what was asked")
    if any([turn.calls or turn.role == "tool" for turn in row.turns]):
        for code, message in doubtful_calls(row):
            tally.note(line, code, message)
