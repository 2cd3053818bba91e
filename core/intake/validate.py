"""The one check of a file, for `evertrain check` and intake alike: every row, with the real renderer."""

import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from core.decide import estimate
from core.files import printable
from core.intake.problems import ROW_CODES
from core.intake.reading import Progress, read_all
from core.intake.report import LINES_PER_CODE, Problem, Report, Tally, warning
from core.intake.template import Renderer
from core.intake.tokens import StoreDamaged, StoreWriter, TokenStore, store_key
from core.intake.twins import Fingerprints
from core.settings import Settings


@dataclass(frozen=True, slots=True)
class Past:
    """What a workspace did before: token stores of trained files, newest first, and its speed."""

    trained: tuple[Path, ...] = ()
    tokens_per_second: float | None = None


def examine(
    path: Path, *, sha256: str, renderer: Renderer, settings: Settings,
    store: Path | None = None, progress: Progress | None = None, past: Past | None = None,
) -> Report:
    """The report on a file whose bytes have this hash; with `past`, beside what was trained before.

    With `store`, the folder of all token stores, the accepted rows' tokens are written there; a store that is
    there already answers at once. `progress` hears (bytes read, bytes of the file) and may raise to stop;
    then nothing remains. Raises `OSError` when the file cannot be read.
    """
    key = store_key(sha256, renderer, settings)
    known = _known(store / key, path) if store is not None else None
    report, rows_seen = known or _examined(path, sha256, renderer, settings, store, key, progress)
    return _beside(report, rows_seen, settings, past or Past())


def _examined(
    path: Path, sha256: str, renderer: Renderer, settings: Settings, store: Path | None, key: str,
    progress: Progress | None,
) -> tuple[Report, Fingerprints]:
    started = time.monotonic()
    expected: str | None = None
    while True:
        tally = Tally()
        with ExitStack() as stack:
            writer = stack.enter_context(StoreWriter(store, key)) if store is not None else None
            if not path.name.lower().endswith(".jsonl"):
                tally.refuse("not_jsonl", "rows come as .jsonl, one JSON object a line: use `evertrain add`")
            else:
                most = read_all(path, sha256, renderer, settings, tally, writer, progress, expected)
                if most != tally.format:
                    expected = most             # the first rows misled: once more, with nothing kept
                    continue
            seconds = time.monotonic() - started
            report = _report(path, sha256, settings, tally, seconds, key if writer else None)
            if writer is not None and report.is_accepted:
                writer.finish(report.as_json())
        return report, tally.rows_seen


def _known(folder: Path, path: Path) -> tuple[Report, Fingerprints] | None:
    if not folder.exists():
        return None
    try:
        kept = TokenStore.open(folder)
    except StoreDamaged:
        return None                             # written again, over this one
    return Report.from_json({**kept.meta["report"], "file": printable(path.name)}), Fingerprints.of(kept)


def _beside(report: Report, rows_seen: Fingerprints, settings: Settings, past: Past) -> Report:
    """The report with what changes from day to day, which is never kept with the tokens."""
    if not report.is_accepted:
        return report
    steps = estimate.steps(report.accepted_rows, report.tokens, settings)
    seconds = estimate.seconds(report.tokens, settings.epochs, past.tokens_per_second)
    report = replace(report, estimated_steps=steps, estimated_seconds=seconds)
    again = rows_seen.among(past.trained)
    if not len(again):
        return report
    code = "trained_before"
    problems = [Problem(line, code, ROW_CODES[code].meaning) for line in again[:LINES_PER_CODE].tolist()]
    return replace(
        report,
        verdict="accepted_with_warnings",
        trained_before=len(again),
        problems=tuple(sorted((*report.problems, *problems), key=lambda problem: problem.line)),
        counts=dict(sorted({**report.counts, code: len(again)}.items())),
        warnings=(*report.warnings, warning(code, len(again), report.rows)),
    )


def _report(
    path: Path, sha256: str, settings: Settings, tally: Tally, seconds: float, key: str | None,
) -> Report:
    reason = tally.reason(settings)
    warnings = tally.describe(settings)
    return Report(
        file=printable(path.name),
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
        max_length=settings.max_length,
    )
