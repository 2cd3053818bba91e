"""The crashes page: grouped by signature, with advice, evidence and the way to what was just before."""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from events.types import ProcessCrashed
from projections import documents
from projections.fold import FOLDED, fold, plain
from projections.status import iso
from web import views
from web.monitor import monitor
from web.pages import json
from web.render import page


async def crashes(request: Request) -> Response:
    of = monitor(request)

    def work() -> str:
        return page("crashes", views.crashes(of.present.look()) | {"channel": "crashes", "notice": ""})

    return HTMLResponse(await of.run(work))


async def crashes_json(request: Request) -> Response:
    """The newest crashes, newest first, each with all of its evidence."""
    of = monitor(request)

    def work() -> list[dict[str, Any]]:
        found = of.present.look().state.health.crashes
        return [documents.crash_report(one) for one in reversed(found)]

    return json(await of.run(work))


async def before_json(request: Request) -> Response:
    """Everything as it was just before a crash: the fold of every fact before its own."""
    of = monitor(request)

    def work() -> dict[str, Any]:
        text = request.path_params["id"].removeprefix("c")
        fact = of.log.get(int(text)) if text.isascii() and text.isdigit() and len(text) <= 18 else None
        if fact is None or not isinstance(fact.event, ProcessCrashed):
            raise HTTPException(404, "There is no such crash.")
        state = fold(of.log.read(0, to=fact.seq - 1, types=FOLDED))
        folded = {k: v for k, v in plain(state).items() if k not in ("seq", "at")}
        return {"seq": fact.seq - 1, "at": iso(state.at), "projections": folded}

    return json(await of.run(work))
