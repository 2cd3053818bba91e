"""What the check found in a file, as the log's facts hold it: for its page, and beside one that failed."""

from typing import Any

from projections.inbox import File


def check(file: File) -> dict[str, Any] | None:
    """The check's outcome; None while it is unchecked. Lines and numbers only: no word of a row is a fact."""
    if file.verdict is None:
        return None
    return {
        "file": file.name,
        "sha256": file.sha256,
        "format": file.format,
        "verdict": file.verdict,
        "reason": file.reason,
        "rows": file.rows,
        "accepted_rows": file.accepted_rows,
        "dropped_rows": file.dropped_rows,
        "counts": dict(sorted(file.counts.items())),
        "lines": {code: list(lines) for code, lines in sorted(file.lines.items())},
        "lengths": {name: file.lengths.get(name) for name in ("p50", "p95", "p99", "max")},
        "max_length": file.max_length,
        "tokens": file.tokens,
        "trainable_tokens": file.trainable_tokens,
        "mask_ratio": _share(file.trainable_tokens, file.tokens),
        "duplicates": file.counts.get("duplicate", 0),
        "trained_before": file.trained_before,
        "leaks": file.counts.get("leakage", 0),
        "estimated_steps": file.estimated_steps,
        "estimated_seconds": file.estimated_seconds,
        "warnings": list(file.warnings),
    }


def _share(part: int | None, whole: int | None) -> float | None:
    return part / whole if part is not None and whole else None
