"""The figures: how counts, losses and bytes read, on a page as on the console. Pure."""

import math

UNKNOWN = "–"


def count(value: float | int | None) -> str:
    """Whole numbers with thousands separators."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def figure(value: float | None) -> str:
    """Four significant digits, as for a loss."""
    if value is None or not math.isfinite(value):
        return UNKNOWN if value is None else str(value)
    if value == 0 or 1e-3 <= abs(value) < 10_000:
        digits = 3 if value == 0 else max(0, 3 - math.floor(math.log10(abs(value))))
        return f"{value:,.{digits}f}"
    return f"{value:.3e}"


def size(bytes_: float | int | None) -> str:
    """Binary units, three significant digits."""
    if bytes_ is None:
        return UNKNOWN
    amount, unit = float(bytes_), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB", "PiB"):
        if amount < 1000 or unit == "PiB":
            break
        amount /= 1024
    return f"{amount:.0f} {unit}" if unit == "B" or amount >= 100 else f"{amount:.3g} {unit}"
