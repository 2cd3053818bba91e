"""The report on a file for a terminal: what it is, what is left out and why, how long it will take."""

import sys
import time
from typing import Any

from core.files import printable

TRAINED = ("⟦", "⟧")  # around what is trained, where no colour may be used
EVERY = 0.5  # seconds between two lines of progress


class Progress:
    """How far a check is, on stderr: one line rewritten in a terminal, else a line at a time."""

    def __init__(self, name: str) -> None:
        self._name = printable(name)
        self._began = self._said = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def __call__(self, done: int, size: int) -> None:
        now = time.monotonic()
        if now - self._said >= EVERY:
            self._said = now
            self._say(f"{self._name}: {done / max(size, 1):.0%} checked", end="" if self._terminal else "\n")

    def finish(self, rows: int) -> None:
        seconds = time.monotonic() - self._began
        self._say(f"{self._name}: {rows:,} rows checked in {seconds:.1f} s", end="\n")

    def _say(self, text: str, end: str) -> None:
        start = "\r\x1b[K" if self._terminal else ""
        print(start + text, end=end, file=sys.stderr, flush=True)


def text_of(report: dict[str, Any]) -> str:
    """A report as `check --json` prints it, in lines to read."""
    reason = f": {report['reason']}" if report["reason"] else ""
    lines = [f"{printable(report['file'])}: {report['verdict']}{reason}"]
    lines.append(
        f"  {report['format']}: {report['accepted_rows']:,} of {report['rows']:,} rows are trained, "
        f"{report['dropped_rows']:,} are left out"
    )
    lengths = report["lengths"]
    if lengths["max"] is not None:
        spread = ", ".join(f"{name} {lengths[name]:,}" for name in ("p50", "p95", "p99", "max"))
        lines.append(f"  tokens a row: {spread}; max_length {report['max_length']:,}")
    if report["mask_ratio"] is not None:
        lines.append(
            f"  {report['trainable_tokens']:,} of {report['tokens']:,} tokens are trained "
            f"({report['mask_ratio']:.0%})"
        )
    lines.append(
        f"  {report['duplicates']:,} duplicate rows, {report['trained_before']:,} trained before in other "
        f"files, {report['leaks']:,} with the answer in the question"
    )
    if report["estimated_steps"] is not None:
        seconds = report["estimated_seconds"]
        lasting = f", {duration(seconds)}" if seconds is not None else ", unknown until something was trained"
        lines.append(f"  about {report['estimated_steps']:,} steps{lasting}")
    lines += [f"  {warning}" for warning in report["warnings"]]
    lines += [f"  line {p['line']}: {p['code']}: {p['message']}" for p in report["problems"]]
    if report.get("example"):
        lines += ["", *_example(report["example"])]
    return "\n".join(lines)


def duration(seconds: float) -> str:
    """`42 s`, `3 min`, `5.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _example(shown: dict[str, Any]) -> list[str]:
    begin, end = TRAINED
    text = "".join(
        f"{begin}{segment['text']}{end}" if segment["trained"] else segment["text"]
        for segment in shown["segments"]
    )
    head = (
        f"  line {shown['line']} as trained, {shown['trained_tokens']:,} of {shown['tokens']:,} tokens: "
        f"those between {begin} and {end}"
    )
    # a row may hold anything, commands to a terminal too
    return [head, *(f"    {printable(line)}" for line in text.split("\n"))]
