"""The pages: GET looks and renders; every page has a twin in JSON with the same facts."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from events.around import around
from events.types import Stored
from projections import documents
from projections.status import iso
from web import assets, audit, live, plots, replay, views
from web.forms import number
from web.hub import VIEWERS, EventStream
from web.monitor import Monitor, monitor
from web.present import Now, Seen
from web.render import page
from web.responses import html, json, missing, shown, span_of, twin, zoom_of
from web.sentences import line


async def overview(request: Request, notice: str = "", status: int = 200) -> Response:
    whole, span = request.query_params.get("range") == "all", span_of(request)

    def prepare(seen: Seen, now: Now) -> dict[str, Any]:
        curves = seen.curves(whole, span)
        return views.overview(now) | views.charts(curves) | zoom_of(request, curves) | {"whole": whole}

    return await shown(request, "overview", prepare, "history" if whole else "overview", notice, status)


async def overview_json(request: Request) -> Response:
    return await twin(request, lambda _, now: now.document)


async def curves_json(request: Request) -> Response:
    """GET /curves.json?run=…&from=…&to=…&at=…: the columns of every chart; without `run`: of all runs."""
    name, span = request.query_params.get("run", ""), span_of(request)

    def work(seen: Seen, now: Now) -> dict[str, Any]:
        if name and name not in now.state.run.runs:
            raise missing(f"There is no run {name}.")
        found = seen.curves_of(now.state.run.runs[name], span) if name else seen.curves(True, span)
        return plots.document(found)

    return await twin(request, work)


async def queue(request: Request, notice: str = "", status: int = 200) -> Response:
    taken = number(request.query_params.get("taken", ""))
    if taken is not None:
        notice = f"{taken} file{'' if taken == 1 else 's'} received; checked and queued at the next poll."
    return await shown(request, "queue", lambda _, now: views.queue(now), "queue", notice, status)


async def queue_json(request: Request) -> Response:
    return await twin(request, lambda _, now: documents.queue(now.state))


def _wanted(of: Monitor, query: dict[str, str]) -> audit.Filter:
    try:
        return audit.parse(query, of.present.state())
    except audit.BadFilter as error:
        raise HTTPException(400, f"{error}.") from error


def _links(query: dict[str, str], found: audit.Found, path: str) -> dict[str, str | None]:
    """The addresses of the pages beside this one; the filter stays."""
    kept = {k: v for k, v in query.items() if k not in ("before", "after", "far") and v}

    def link(name: str, seq: int | None) -> str | None:
        return None if seq is None else f"{path}?{urlencode(kept | {name: str(seq)})}"

    further = link("before", found.searched_to)
    return {
        "older": link("before", found.older), "newer": link("after", found.newer),
        "further": f"{further}&far=1" if further else None, "newest": f"{path}?{urlencode(kept)}",
        "json": f"/audit.json?{urlencode({k: v for k, v in query.items() if v})}",
        "export": f"/audit.jsonl?{urlencode(kept)}",
    }  # fmt: skip


async def audit_page(request: Request) -> Response:
    query = dict(request.query_params)

    def work(of: Monitor) -> str:
        wanted = _wanted(of, query)
        found = audit.search(of.log, wanted)
        now = of.present.look()
        values = {
            "query": query, "wanted": wanted, "found": found, "links": _links(query, found, "/audit"),
            "lines": [line(fact, now.state) for fact in found.facts], "types": audit.EVENT_NAMES,
            "actors": audit.ACTORS, "channel": "audit", "notice": "",
        }  # fmt: skip
        return page("audit", views.common(now) | values)

    return await html(request, work)


async def audit_json(request: Request) -> Response:
    of, query = monitor(request), dict(request.query_params)

    def work() -> dict[str, Any]:
        found = audit.search(of.log, _wanted(of, query))
        links = _links(query, found, "/audit.json")
        return {
            "events": [documents.event(fact) for fact in found.facts], "count": found.count,
            "count_is_capped": found.capped, "older": links["older"], "newer": links["newer"],
            "searched_to": found.searched_to,
        }  # fmt: skip

    return json(await of.run(work))


async def audit_lines(request: Request) -> Response:
    """GET /audit.jsonl: all that matches, oldest first, one JSON object a line, up to the head of now."""
    of, query = monitor(request), dict(request.query_params)
    wanted, head = await of.run(lambda: (_wanted(of, query), of.log.head()))

    async def lines() -> AsyncIterator[bytes]:
        after: int | None = wanted.after or 0
        while after is not None:
            here = after
            found, after = await of.run(lambda: audit.piece(of.log, wanted, here, head))  # noqa: B023
            yield b"".join([msgspec.json.encode(documents.event(fact)) + b"\n" for fact in found])

    named = {"content-disposition": 'attachment; filename="evertrain-events.jsonl"'}
    return StreamingResponse(lines(), media_type="application/x-ndjson", headers=named)


def fact_at(of: Monitor, text: str) -> Stored | None:
    """The fact at a position; None: the text is no position, or nothing is there."""
    seq = number(text)
    return of.log.get(seq) if seq is not None else None


def _fact(of: Monitor, text: str) -> Stored:
    fact = fact_at(of, text)
    if fact is None:
        raise HTTPException(404, f"The log holds no fact #{text}.")
    return fact


async def event(request: Request) -> Response:
    def work(of: Monitor) -> str:
        fact = _fact(of, request.path_params["seq"])
        now, near = of.present.look(), around(of.log, fact)
        values = {
            "fact": fact, "line": line(fact, now.state), "payload": msgspec.to_builtins(fact.event),
            "near": near, "causes": [line(cause, now.state) for cause in near.causes],
            "changed": replay.changed(of, fact.seq),
            "effects": [line(effect, now.state) for effect in near.effects], "iso": iso(fact.at),
            "version": type(fact.event).VERSION, "steps": documents.steps(fact.event), "channel": "",
            "notice": "",
        }  # fmt: skip
        return page("event", views.common(now) | values)

    return await html(request, work)


async def event_json(request: Request) -> Response:
    of = monitor(request)

    def work() -> dict[str, Any]:
        fact = _fact(of, request.path_params["seq"])
        changed = replay.changed(of, fact.seq, whole=True)["changes"]
        return documents.event(fact) | around(of.log, fact).positions | {"changed": changed}

    return json(await of.run(work))


async def healthz(request: Request) -> Response:
    of = monitor(request)
    await of.run(of.log.head)
    return json({"status": "failed"}, 503) if of.failed else json({"status": "ok"})


async def old_address(request: Request) -> Response:
    return RedirectResponse("/", 308)


async def asset(request: Request) -> Response:
    name = request.path_params["name"]
    if request.path_params["version"] != assets.VERSION or name not in assets.FILES:
        raise HTTPException(404, "There is no such file.")
    kind = assets.TYPES["." + name.rpartition(".")[2]]
    headers = {"cache-control": "public, max-age=31536000, immutable"}
    return Response(assets.FILES[name], media_type=kind, headers=headers)


async def live_stream(request: Request) -> EventStream:
    """GET /live?page=…&seq=…: the one stream of server-sent events a page opens."""
    of, name = monitor(request), request.query_params.get("page", "overview")
    if await of.run(lambda: live.channel(of.present, name)) is None:
        raise HTTPException(404, "There is no live view of this name.")
    if len(of.hub) >= VIEWERS or of.hub.closed:
        raise HTTPException(503, "Too many live views are open.", headers={"retry-after": "5"})
    seen = number(request.query_params.get("seq", "")) or 0
    if "last-event-id" in request.headers:
        seen = 0  # it was away: a fresh set of everything
    return EventStream(of.hub, name, lambda: of.run(lambda: live.fresh(of.present, name, seen)))
