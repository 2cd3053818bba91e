"""The zoom: which global steps a chart is asked to show, and where one may go from them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import urlencode

from projections.figures import count
from web.forms import number
from web.trail import LAST_STEP, Span, Trail

PARTS = 4  # of a chart, as its axis is divided


class BadSpan(Exception):
    """`from` or `to` cannot be read: which, and what it should be."""


def parse(query: Mapping[str, str]) -> Span | None:
    """The steps a query asks for; None: all of them. Raises BadSpan."""
    found = {}
    for name, default in (("from", 1), ("to", LAST_STEP)):
        text = query.get(name, "").strip()
        value = number(text) if text else default
        if value is None or value > LAST_STEP:
            raise BadSpan(f"{name}: {text!r} is no step (a whole number)")
        found[name] = value
    if found["from"] > found["to"]:
        raise BadSpan(f"from: step {found['from']} lies behind step {found['to']} (to)")
    asked = query.get("from", "").strip() or query.get("to", "").strip()
    return Span(found["from"], found["to"]) if asked else None


@dataclass(frozen=True, slots=True)
class Zoom:
    """The steps that are shown, and addresses: the parts they are made of, those beside them, and wider."""

    first: int
    last: int
    zoomed: bool
    path: str
    parts: tuple[tuple[str, str], ...]  # label, address
    ways: tuple[tuple[str, str], ...]
    kept: tuple[tuple[str, str], ...]  # the rest of the query, for a form


def zoom(
    first: int | None, last: int, shown: Span | None, end: int | None, path: str, query: Mapping[str, str]
) -> Zoom | None:
    """Where to go from the steps that are shown: `first` to `last`, or `shown` of those up to `end`.

    None: there is no step to look at.
    """
    if first is None and shown is None:
        return None
    first, last = (shown.first, shown.last) if shown is not None else (first or 1, last)
    kept = tuple((key, value) for key, value in query.items() if key not in ("from", "to") and value)

    def link(one: int, other: int) -> str:
        return f"{path}?{urlencode([*kept, ('from', max(1, one)), ('to', max(1, other))])}"

    n = last - first + 1
    edges = [first + n * part // PARTS for part in range(PARTS + 1)]
    parts = [
        (f"{count(low)} – {count(high - 1)}" if high - 1 > low else count(low), link(low, high - 1))
        for low, high in pairwise(edges) if high > low and n > 1
    ]  # fmt: skip
    address = f"{path}?{urlencode(kept)}" if kept else path
    ways = [("All", address)]
    if shown is not None:
        step = max(1, n // 2)
        ways = [
            *([("◂ Earlier", link(max(1, first - step), max(1, first - step) + n - 1))] if first > 1 else []),
            *([("Later ▸", link(first + step, last + step))] if end is None or last < end else []),
            ("Wider", link(first - step, last + step)), *ways,
        ]  # fmt: skip
    return Zoom(first, last, shown is not None, path, tuple(parts), tuple(ways), kept)


def controls(trail: Trail, path: str, query: Mapping[str, str]) -> dict[str, Any]:
    """What stands under a chart: where one may go from the steps shown, and their columns as JSON."""
    found = zoom(trail.first_step, trail.last_step, trail.span, trail.end, path, query)
    return {"zoom": found, "curves_json": export(trail.run, trail.span, query.get("at", ""))}


def export(run: str | None, shown: Span | None, at: str) -> str:
    """The address of the columns as JSON."""
    asked = {"run": run or "", "at": at} | ({"from": shown.first, "to": shown.last} if shown else {})
    kept = urlencode({key: value for key, value in asked.items() if value})
    return f"/curves.json?{kept}" if kept else "/curves.json"
