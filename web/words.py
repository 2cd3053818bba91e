"""The words: how numbers, times, sizes and hostile text read on a page."""

import json
import math
import unicodedata
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from projections.figures import UNKNOWN, count, figure, size

#: Format (bidi overrides, zero-width), control, surrogate, private use, unassigned, line and paragraph ends.
HIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def visible(text: str) -> str:
    """The text with every character that would not show, or would reorder the rest, as its escape."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if unicodedata.category(c) in HIDDEN else c for c in text)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def finalize(value: Any) -> Any:
    """What a template prints: unknown is a dash, never 0; text is made visible, markup is left."""
    if value is None:
        return UNKNOWN
    if isinstance(value, str) and not isinstance(value, Markup):
        return visible(value)
    return value


def plain(value: float) -> str:
    """A tick of an axis: no more digits than it has."""
    return f"{value:,.6g}"


def rate(value: float | None) -> str:
    """A learning rate: short scientific form."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}" if value else "0"


def signed(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:+.4f}"


def duration(seconds: float | None) -> str:
    """Rough on purpose: an estimate that changes every second cannot be read."""
    if seconds is None:
        return UNKNOWN
    if seconds < 60:
        return "under a minute"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"


def moment(at: int | str | None) -> Markup:
    """µs since the epoch, or a document's ISO time, as a <time>; the page's script makes it "3 min ago"."""
    if not at:
        return Markup(UNKNOWN)
    when = datetime.fromisoformat(at) if isinstance(at, str) else datetime.fromtimestamp(at / 1_000_000, UTC)
    iso = when.isoformat(timespec="milliseconds")
    text = when.strftime("%d %b %H:%M:%S UTC")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(iso, iso, text)


def short(sha256: str) -> str:
    """Enough of a hash to recognise it."""
    return sha256[:12]


def base(path: str | None) -> str | None:
    """The last part of a path."""
    return path.rpartition("/")[2] if path else path


def compact(value: Any) -> str:
    """A value as one line of JSON."""
    return json.dumps(value, ensure_ascii=False)


def pretty(value: Any) -> Markup:
    """A payload as indented JSON, hostile characters visible."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return Markup("\n").join(escape(visible(line)) for line in text.split("\n"))


FILTERS = {
    "count": count, "figure": figure, "rate": rate, "signed": signed, "size": size, "duration": duration,
    "moment": moment, "short": short, "pretty": pretty,
    "base": base, "compact": compact,
}  # fmt: skip
