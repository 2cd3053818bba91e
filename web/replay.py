"""The replay page: the whole system as of any fact, by the live pages' templates; what two differ in."""

from itertools import islice
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from projections import moments
from projections.status import iso
from web import keeping_views, views
from web.monitor import Monitor, monitor
from web.render import page
from web.responses import html, json
from web.sentences import line
from web.words import compact

CHANGES_SHOWN = 200
VALUE_SHOWN = 160  # characters
FARTHEST = 5_000  # facts between two moments: who set a value is found by folding each of them again


def _asked(of: Monitor, query: dict[str, str]) -> tuple[int, int | None]:
    """`at` and `vs` as positions; at the head, and alone, unless said otherwise. Raises HTTPException."""
    found = []
    for name in ("at", "vs"):
        text = query.get(name, "").strip()
        try:
            found.append(of.past.position(text) if text else None)
        except moments.NotYet as error:
            raise HTTPException(404, f"{name}: {error}.") from error
        except moments.NoSuchMoment as error:
            raise HTTPException(400, f"{name}: {error}.") from error
    at, vs = found
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


def _short(value: Any) -> str | None:
    text = None if value is None else compact(value)
    return text if text is None or len(text) <= VALUE_SHOWN else f"{text[: VALUE_SHOWN - 1]}…"


def _ways(of: Monitor, seq: int, end: int) -> list[tuple[str, int]]:
    """Where one may go from here."""
    following = of.past.next_change(seq) if seq < end else None
    ways = [("First", 0), ("−1", seq - 1)] if seq > 0 else []
    ways += [("+1", seq + 1)] if seq < end else []
    ways += [(f"Next change (#{following})", following)] if following is not None else []
    return [*ways, (f"Head (#{end})", end)]


async def replay(request: Request) -> Response:
    """GET /replay?at=N&vs=M; `at`: the newest fact unless given."""
    query = dict(request.query_params)

    def work(of: Monitor) -> str:
        at, vs = _asked(of, query)
        now, fact, end = of.past.look(at), of.log.get(at), of.log.head()
        values = views.overview(now) | views.queue(now) | keeping_views.versions(now)
        values |= views.charts(of.past.curves(at)) | {
            "at": at, "vs": vs, "end": end, "ways": _ways(of, at, end), "iso": iso(now.at),
            "fact": line(fact, now.state) if fact else None, "read_only": True, "channel": "", "notice": "",
            "diff": _shown(_difference(of, at, vs)) if vs is not None else None,
            "waiting_count": len(of.present.state().queue.waiting),  # the bar above shows the present
        }  # fmt: skip
        return page("replay", values)

    return await html(request, work)


async def replay_json(request: Request) -> Response:
    """The same as `evertrain replay --to N --json`, with `vs` as `--diff M`."""
    of, query = monitor(request), dict(request.query_params)

    def work() -> dict[str, Any]:
        at, vs = _asked(of, query)
        return moments.document(of.past.moment(at)) if vs is None else _difference(of, at, vs)

    return json(await of.run(work))
