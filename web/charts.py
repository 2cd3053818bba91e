"""The charts: columns of numbers as SVG paths, ticks, a sentence and a table. Pure."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from projections.figures import count, figure
from web.columns import Column
from web.words import plain

WIDTH, HEIGHT = 1000, 300  # of the drawing; the page stretches it, strokes keep their width
ROWS = 16  # of the table
DOTS = 40  # more would run into each other


@dataclass(frozen=True, slots=True)
class Point:
    """One measured value at a global step."""

    step: int
    value: float


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at a step: `checkpoint`, `pause`, `crash`, `version` or `clean`."""

    kind: str
    step: int
    label: str
    x: int = 0


@dataclass(frozen=True, slots=True)
class Chart:
    """What a template needs to draw one."""

    line: str  # mean of each column
    earlier: str  # the means of stretches that were done again since
    band: str  # smallest to largest; empty where each column is one step
    dashed: str  # the measured points, joined
    dots: str
    fixed: str  # the points of the second series
    ticks: tuple[str, ...]  # top to bottom, evenly spaced
    steps: tuple[str, ...]  # left to right, evenly spaced
    marks: tuple[Mark, ...]
    summary: str
    rows: tuple[tuple[str, ...], ...]  # steps, mean, lowest, highest, measured
    first_step: int  # at the left edge
    last_step: int


def draw(
    columns: Sequence[Column],
    points: Sequence[Point] = (),
    marks: Sequence[Mark] = (),
    *,
    name: str,
    earlier: Sequence[Sequence[Column]] = (),
    fixed: Sequence[Point] = (),
    say: Callable[[float | None], str] = figure,
    tick: Callable[[float], str] = plain,
    ticks: int = 4,
    place: Callable[[float], str] = count,
    unit: str = "steps",
) -> Chart | None:
    """A chart of `columns`, with `points` dashed over it; None when there is nothing to draw.

    `earlier`: stretches that were done again. `fixed`: a second series of points. `place` writes the numbers
    of the horizontal axis, which are `unit`.
    """
    known = [c for c in columns if c.n]
    points, fixed = standing(points), standing(fixed)
    if not known and not points:
        return None
    drawn = [*known, *(c for stretch in earlier for c in stretch if c.n)]
    seen = [*points, *fixed]
    low = min([c.low for c in drawn] + [p.value for p in seen])
    high = max([c.high for c in drawn] + [p.value for p in seen])
    scale = nice(low, high, ticks)
    first = min([c.first_step for c in drawn] + [p.step for p in seen])
    last = max([c.last_step for c in drawn] + [p.step for p in seen])

    def x(step: float) -> int:
        return round((step - first) / max(1, last - first) * WIDTH)

    def y(value: float) -> int:
        return round((scale[-1] - value) / (scale[-1] - scale[0]) * HEIGHT)

    places = [(x(p.step), y(p.value)) for p in points]
    return Chart(
        line=_line(columns, x, y),
        earlier="".join(_line(stretch, x, y) for stretch in earlier),
        band=_band(columns, x, y) if any(c.high > c.low for c in known) else "",
        dashed=_path(places) if len(places) > 1 else "",
        dots="".join(f"M{a} {b}h0" for a, b in places) if len(places) <= DOTS else "",
        fixed=_stroke([(x(p.step), y(p.value)) for p in fixed]) if fixed else "",
        ticks=tuple(tick(value) for value in reversed(scale)),
        steps=tuple(place(first + (last - first) * n / 4) for n in range(5)) if last - first >= 4 else
        (place(first), place(last)),
        marks=tuple(Mark(m.kind, m.step, m.label, x(m.step)) for m in marks if first <= m.step <= last),
        summary=_summary(name, known, points, sum(c.nonfinite for c in columns), say, place, unit),
        rows=tuple(_rows(known, points, say, place)),
        first_step=first,
        last_step=last,
    )  # fmt: skip


def standing(points: Sequence[Point]) -> list[Point]:
    """The points that still stand, given in the log's order: one at an earlier step begins there anew."""
    kept: list[Point] = []
    for point in points:
        while kept and kept[-1].step > point.step:
            kept.pop()
        if math.isfinite(point.value):
            kept.append(point)
    return kept


def coarse(columns: Sequence[Column], most: int) -> list[Column]:
    """At most `most` columns, neighbours put together: a small chart needs no more."""
    every = max(1, -(-len(columns) // most))
    merged = []
    for start in range(0, len(columns), every):
        column = Column(columns[start].first_step, columns[start].last_step)
        for other in columns[start : start + every]:
            column.add(other)
        merged.append(column)
    return merged


def nice(low: float, high: float, parts: int) -> list[float]:
    """Round values, evenly spaced, that hold `low` to `high`; about `parts` + 1 of them."""
    span = high - low
    if span < abs(high) * 1e-6 or span == 0:  # flat: the line runs through the middle
        room = abs(high) * 0.05 or 0.5
        return [low - room, high, high + room]
    raw = span / parts
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((power * m for m in (1, 2, 2.5, 5) if power * m >= raw), power * 10)
    bottom, top = math.floor(low / step), math.ceil(high / step)
    top = max(top, bottom + 1)
    return [n * step for n in range(bottom, top + 1)]


def _middle(column: Column) -> float:
    return (column.first_step + column.last_step) / 2


def _path(places: Sequence[tuple[int, int]]) -> str:
    """Relative moves: half the bytes of absolute places, and charts are sent again and again."""
    moves = " ".join(f"{c - a}{d - b:+d}" for (a, b), (c, d) in pairwise(places))
    return f"M{places[0][0]} {places[0][1]}l{moves}"


def _line(columns: Sequence[Column], x: Callable[[float], int], y: Callable[[float], int]) -> str:
    parts: list[str] = []
    piece: list[tuple[int, int]] = []
    for column in columns:
        if column.mean is None:  # only NaN or Inf: a gap stays a gap
            parts += [_stroke(piece)] if piece else []
            piece = []
        else:
            piece.append((x(_middle(column)), y(column.mean)))
    return "".join([*parts, *([_stroke(piece)] if piece else [])])


def _stroke(piece: Sequence[tuple[int, int]]) -> str:
    return _path(piece) if len(piece) > 1 else f"M{piece[0][0]} {piece[0][1]}h0"


def _band(columns: Sequence[Column], x: Callable[[float], int], y: Callable[[float], int]) -> str:
    known = [c for c in columns if c.n]
    over = [(x(_middle(c)), y(c.high)) for c in known]
    under = [(x(_middle(c)), y(c.low)) for c in reversed(known)]
    return _path([*over, *under]) + "Z"


def _summary(
    name: str,
    known: Sequence[Column],
    points: Sequence[Point],
    lost: int,
    say: Callable[[float | None], str],
    place: Callable[[float], str],
    unit: str,
) -> str:
    said = []
    if known:
        part = max(1, len(known) // 10)
        before, after = _mean(known[:part]), _mean(known[-part:])
        span = max(c.high for c in known) - min(c.low for c in known)
        way = "stays near" if abs(after - before) <= 0.02 * (span or 1) else (
            "fell to" if after < before else "rose to"
        )  # fmt: skip
        steps = f"{unit} {place(known[0].first_step)} to {place(known[-1].last_step)}"
        said.append(f"{name}, {steps}: began near {say(before)}, {way} {say(after)}")
        said.append(f"lowest {say(min(c.low for c in known))}, highest {say(max(c.high for c in known))}")
    if points:
        said.append(f"validation {say(points[0].value)} at first, {say(points[-1].value)} last")
    if lost:
        said.append(f"not finite: {count(lost)} value{'' if lost == 1 else 's'}")
    return "; ".join(said) + "."


def _mean(columns: Sequence[Column]) -> float:
    return sum(c.total for c in columns) / sum(c.n for c in columns)


def _rows(
    known: Sequence[Column],
    points: Sequence[Point],
    say: Callable[[float | None], str],
    place: Callable[[float], str],
) -> list[tuple[str, ...]]:
    every = max(1, -(-len(known) // ROWS))
    rows: list[tuple[str, ...]] = []
    for start in range(0, len(known), every):
        group = known[start : start + every]
        first, last = group[0].first_step, group[-1].last_step
        measured = [p.value for p in points if first <= p.step <= last]
        rows.append((
            f"{place(first)} – {place(last)}" if last > first else place(first),
            say(_mean(group)), say(min(c.low for c in group)), say(max(c.high for c in group)),
            say(measured[-1]) if measured else "",
        ))  # fmt: skip
    return rows
