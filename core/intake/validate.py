"""The one check of a file, for `evertrain check` and intake alike: every row, with the real renderer."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from core.intake import sequences
from core.intake.chatml import END, START, blocks
from core.intake.formats import READERS, Row, parse, read, recognise
from core.intake.lines import FileTooLarge, Lines
from core.intake.problems import BadRow
from core.intake.report import Report, Tally, leaks
from core.intake.template import END_OF_TEXT, Encoded, Renderer
from core.intake.tokens import StoreDamaged, StoreWriter, TokenStore, store_key
from core.settings import Settings
from events.heartbeat import moved

BLOCK_ROWS, BLOCK_CHARACTERS = 256, 1_000_000       # rows tokenized at a time: what memory is needed for

Progress = Callable[[int, int], None]
Found = tuple[int, Row, Row]                        # line, the row as it stands there, as it is rendered


def examine(
    path: Path, *, sha256: str, renderer: Renderer, settings: Settings,
    store: Path | None = None, progress: Progress | None = None,
) -> Report:
    """The report on a file whose bytes have this hash.

    With `store`, the folder of all token stores, the accepted rows' tokens are written there; a store that is
    there already answers at once. `progress` hears (bytes read, bytes of the file) and may raise to stop;
    then nothing remains. Raises `OSError` when the file cannot be read.
    """
    key = store_key(sha256, renderer, settings)
    if store is not None and (known := _known(store / key, path)) is not None:
        return known
    started = time.monotonic()
    tally = Tally()
    with ExitStack() as stack:
        writer = stack.enter_context(StoreWriter(store, key)) if store is not None else None
        if not path.name.lower().endswith(".jsonl"):
            tally.refuse("not_jsonl", "rows come as .jsonl, one JSON object a line: use `evertrain add`")
        else:
            _read_all(path, sha256, renderer, settings, tally, writer, progress)
        report = _report(path, sha256, settings, tally, time.monotonic() - started, key if writer else None)
        if writer is not None and report.is_accepted:
            writer.finish(report.as_json())
    return report


def _known(folder: Path, path: Path) -> Report | None:
    if not folder.exists():
        return None
    try:
        kept = TokenStore.open(folder).meta["report"]
    except StoreDamaged:
        return None                             # written again below, over this one
    return Report.from_json({**kept, "file": path.name})


def _read_all(
    path: Path, sha256: str, renderer: Renderer, settings: Settings, tally: Tally,
    writer: StoreWriter | None, progress: Progress | None,
) -> None:
    size = path.stat().st_size
    lines = Lines(path)
    try:
        tally.format = _format(path, progress, size)
        if tally.format != "text" and tally.format in READERS and renderer.chat_problem:
            tally.refuse("chat_unsupported", f"this base cannot learn chats: {renderer.chat_problem}")
            return
        for block in _blocks(lines, renderer, settings, tally):
            _take(block, renderer, settings, tally, writer)
            moved()
            if progress is not None:
                progress(lines.bytes_read, size)
    except FileTooLarge as error:
        tally.refuse("file_too_large", str(error))
        return
    if lines.has_bom:
        tally.warnings.append("bom: the file begins with a byte order mark, which was skipped")
    if lines.digest != sha256:
        tally.refuse("changed", "the file changed while it was read: add it again when it is complete")
    elif not tally.rows:
        tally.refuse("no_rows", "the file has no rows")
    tally.find_duplicates()


def _format(path: Path, progress: Progress | None, size: int) -> str:
    """The format of most rows, by a first pass over all of them."""
    seen: Counter[str] = Counter()
    for number, line in Lines(path):
        if number % 5000 == 0:
            moved()
        if progress is not None and number % 5000 == 0:
            progress(0, size)                   # a chance to stop; the pass that counts comes after
        try:
            found = recognise(parse(line)) if line is not None else None
        except BadRow:
            continue                            # told by the second pass, with its line
        if found is not None:
            seen[found] += 1
    # of equally many the first in order of the name: the same file has the same format always
    return min(seen, key=lambda name: (-seen[name], name), default="unknown")


def _blocks(
    lines: Lines, renderer: Renderer, settings: Settings, tally: Tally,
) -> Iterator[list[Found]]:
    """Usable rows, a bounded number at a time; the others are noted."""
    block: list[Found] = []
    characters = 0
    for number, line in lines:
        tally.rows += 1
        try:
            if line is None:
                raise BadRow("line_too_long", f"the line is longer than {lines.line_limit:,} bytes")
            row = read(parse(line), tally.format)
            ready = renderer.prepare(_with_sequences(number, row, settings, tally), settings.system_prompt)
        except BadRow as problem:
            tally.note(number, problem.code, str(problem))
            continue
        block.append((number, row, ready))
        characters += sum(len(turn.text) for turn in ready.turns)
        if len(block) >= BLOCK_ROWS or characters >= BLOCK_CHARACTERS:
            yield block
            block, characters = [], 0
    yield block


def _take(
    block: list[Found], renderer: Renderer, settings: Settings, tally: Tally, writer: StoreWriter | None,
) -> None:
    rows = renderer.encode([ready for _, _, ready in block], settings.max_length)
    for (line, row, ready), encoded in zip(block, rows, strict=True):
        length = len(encoded.ids)
        tally.lengths[length] += 1
        if length > settings.max_length:
            if settings.too_long != "truncate" or _cuts_a_stop(ready, encoded, renderer, settings):
                tally.note(line, "too_long", f"{length} tokens, max_length is {settings.max_length}")
                continue
            tally.note(line, "truncated", f"{length} tokens, cut to {settings.max_length}")
            encoded = Encoded(encoded.ids[:settings.max_length], encoded.labels[:settings.max_length])
        trained = int(encoded.labels.sum())
        if not trained:
            tally.note(line, "no_trainable_token", "no token would be trained")
            continue
        row_sha256 = row.sha256
        tally.accept(line, row_sha256, len(encoded.ids), trained)
        _warn(line, row, tally)
        if writer is not None:
            writer.append(encoded, row_sha256, line)


def _with_sequences(line: int, row: Row, settings: Settings, tally: Tally) -> Row:
    """Think and stop sequences touch no system turn, so they may come before the system prompt as well."""
    try:
        return sequences.add(row, settings)
    except sequences.Contradiction as problem:
        tally.note(line, "sequence_conflict", str(problem))
        return row


def _cuts_a_stop(row: Row, encoded: Encoded, renderer: Renderer, settings: Settings) -> bool:
    """Would cutting to max_length keep a part of an answer without the stop sequence it ends with?"""
    last, next_one = encoded.labels[settings.max_length - 1 : settings.max_length + 1]
    if not (row.is_chat and last and next_one):
        return False                            # the cut is not inside an answer
    kept = blocks(row.turns)[: int((encoded.ids[: settings.max_length] == renderer.start_id).sum())]
    return sequences.has_stop(kept[-1][1], settings)


def _warn(line: int, row: Row, tally: Tally) -> None:
    if row.is_chat and row.turns[-1].role != "assistant":
        tally.note(line, "last_turn_not_assistant", "the last message is not by the assistant")
    if any(token in turn.text for turn in row.turns for token in (START, END, END_OF_TEXT)):
        tally.note(line, "control_text", "a control token is spelled out in the text")
    if leaks(row):
        tally.note(line, "leakage", "the answer stands word for word in what was asked")


def _report(
    path: Path, sha256: str, settings: Settings, tally: Tally, seconds: float, key: str | None,
) -> Report:
    reason = tally.reason(settings)
    warnings = tally.describe(settings)
    return Report(
        file=path.name,
        sha256=sha256,
        format=tally.format,
        verdict="rejected" if reason else "accepted_with_warnings" if warnings else "accepted",
        reason=reason,
        rows=tally.rows,
        accepted_rows=tally.accepted,
        dropped_rows=tally.rows - tally.accepted,
        tokens=tally.tokens,
        trainable_tokens=tally.trained,
        lengths=tally.percentiles(),
        mask_ratio=tally.trained / tally.tokens if tally.tokens else None,
        duplicates=tally.counts["duplicate"],
        leaks=tally.counts["leakage"],
        problems=tuple(sorted(tally.problems, key=lambda problem: problem.line)),
        counts=dict(sorted(tally.counts.items())),
        warnings=warnings,
        seconds=seconds,
        store=None if reason else key,
    )
