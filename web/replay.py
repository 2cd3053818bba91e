"""The replay page: the whole system as of any fact, by the live pages' templates; what two differ in."""

import heapq
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from projections import moments, pins
from projections.status import iso
from web import keeping_views, views
from web.monitor import Monitor, monitor
from web.render import page
from web.responses import html, json, position, span_of, zoom_of
from web.sentences import line
from web.then import Then
from web.words import compact

CHANGES_SHOWN = 200
VALUE_SHOWN = 160  # characters
#: What every fact changes.
EVER = ("status.seq", "status.timestamp")
PARTS_SHOWN = 100  # of a pinned value
LONGEST_PATH = 500  # characters
FARTHEST = 5_000  # facts between two moments: who set a value is found by folding each of them again


def _asked(of: Monitor, query: dict[str, str]) -> tuple[int, int | None]:
    """`at` and `vs` as positions; at the head, and alone, unless said otherwise. Raises HTTPException."""
    given = {name: query.get(name, "").strip() for name in ("at", "vs")}
    at, vs = (position(of, name, text) if text else None for name, text in given.items())
    return of.log.head() if at is None else at, vs


def _difference(of: Monitor, at: int, vs: int) -> dict[str, Any]:
    between = list(islice(of.past.between(at, vs), FARTHEST + 1))
    if len(between) > FARTHEST:
        raise HTTPException(
            400, f"Between #{at} and #{vs} lie more than {FARTHEST:,} facts that change state: choose "
            f"moments that are closer, or run evertrain replay --to {at} --diff {vs}.",
        )  # fmt: skip
    return moments.difference(of.past.moment(at), of.past.moment(vs), between)


def _shown(found: dict[str, Any]) -> dict[str, Any]:
    """The difference as the table prints it: so many rows, values cut short."""
    changes = found["changes"]
    return {
        "from": found["from"], "to": found["to"], "count": len(changes),
        "changes": [
            change | {key: _short(change[key]) for key in ("before", "after")}
            for change in changes[:CHANGES_SHOWN]
        ],
    }  # fmt: skip


def changed(of: Monitor, seq: int, *, whole: bool = False) -> dict[str, Any]:
    """What a fact changed: the state just before and just after it. `whole`: nothing is cut."""
    found = moments.difference(of.past.moment(seq - 1), of.past.moment(seq), of.past.between(seq - 1, seq))
    found["changes"] = [change for change in found["changes"] if change["path"] not in EVER]
    return found if whole else _shown(found)


def _short(value: Any) -> str | None:
    text = None if value is None else compact(value)
    return text if text is None or len(text) <= VALUE_SHOWN else f"{text[: VALUE_SHOWN - 1]}…"


def _pinned(of: Monitor, at: int, path: str, show: Callable[[Any], Any] = pins.shown) -> dict[str, Any]:
    """A pinned value's document. Raises HTTPException."""
    try:
        pinned = pins.pin(path)
    except pins.NoSuchValue as error:
        raise HTTPException(400, f"pin: {error}.") from error
    return pins.document(pinned, of.past, of.past.moment(at), of.log.head(), show=show)


def _pin(of: Monitor, at: int, path: str) -> dict[str, Any] | None:
    """What the page shows of a pinned value: its changes, and what it consists of."""
    if not path:
        return None
    found, names = _pinned(of, at, path, _inside), path.split(".")
    inner = pins.parts(pins.value(pins.pin(path), of.past.moment(at)))
    parts = heapq.nsmallest(PARTS_SHOWN, (inner or {}).items(), key=lambda pair: str(pair[0]))
    facts = {key: of.log.get(found[key]) for key in ("set_by", "previous", "next") if found[key] is not None}
    state = of.present.state()  # the facts to come may tell of what was not there yet
    return found | {
        "above": [(name, ".".join(names[: n + 1])) for n, name in enumerate(names[:-1])], "name": names[-1],
        "parts": [(key, f"{path}.{key}", _inside(value)) for key, value in parts],
        "count": len(inner) if inner is not None else 0,
        "lines": {key: line(fact, state) for key, fact in facts.items() if fact is not None},
    }  # fmt: skip


def _inside(value: Any) -> str:
    """A value in a few words; of what has parts, how many."""
    inner = pins.parts(value)
    if inner is not None:
        return f"{len(inner):,} values"
    return "not there" if value is pins.ABSENT else _short(pins.shown(value)) or "null"


def _ways(of: Monitor, seq: int, end: int) -> list[tuple[str, int]]:
    """Where one may go from here."""
    following = of.past.next_change(seq) if seq < end else None
    ways = [("First", 0), ("−1", seq - 1)] if seq > 0 else []
    before = of.past.last_change(seq - 1) if seq > 0 else None
    ways += [(f"Previous change (#{before})", before)] if before is not None else []
    ways += [("+1", seq + 1)] if seq < end else []
    ways += [(f"Next change (#{following})", following)] if following is not None else []
    return [*ways, (f"Head (#{end})", end)]


def _address(query: Mapping[str, Any]) -> str:
    return f"/replay?{urlencode({key: value for key, value in query.items() if value != ''})}"


async def replay(request: Request) -> Response:
    """GET /replay?at=N&vs=M&pin=PATH&from=STEP&to=STEP; `at`: the newest fact unless given."""
    query, span = dict(request.query_params), span_of(request)
    pin = query.get("pin", "").strip()[:LONGEST_PATH]

    def work(of: Monitor) -> str:
        at, vs = _asked(of, query)
        now, fact, end, pinned = of.past.look(at), of.log.get(at), of.log.head(), _pin(of, at, pin)
        kept = {"vs": vs, "pin": pin, "from": query.get("from"), "to": query.get("to")}
        kept = {key: value for key, value in kept.items() if value not in (None, "")}
        values = views.overview(now) | views.queue(now) | keeping_views.versions(now)
        curves = Then(of.past, of.workspace, at).curves(False, span)
        values |= views.charts(curves) | zoom_of(request, curves, at) | {
            "at": at, "pin": pinned, "pin_names": pins.NAMES, "kept": kept,
            "link": lambda seq, **more: _address({"at": seq} | kept | more),
            "vs": vs, "end": end, "ways": _ways(of, at, end), "iso": iso(now.at),
            "fact": line(fact, now.state) if fact else None, "read_only": True, "channel": "", "notice": "",
            "diff": _shown(_difference(of, at, vs)) if vs is not None else None,
        }  # fmt: skip
        return page("replay", values)

    return await html(request, work)


async def replay_json(request: Request) -> Response:
    """The same as `evertrain replay --to N --json`, with `vs` as `--diff M`, and `pin` as `--value PATH`."""
    of, query = monitor(request), dict(request.query_params)
    pin = query.get("pin", "").strip()[:LONGEST_PATH]

    def work() -> dict[str, Any]:
        at, vs = _asked(of, query)
        found = moments.document(of.past.moment(at)) if vs is None else _difference(of, at, vs)
        return found | ({"pin": _pinned(of, at, pin)} if pin else {})

    return json(await of.run(work))
