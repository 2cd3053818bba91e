"""The crashes page: grouped by signature, with advice, evidence and the way to what was just before."""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from events.types import ProcessCrashed
from projections import documents, moments
from web import pages, readings, views
from web.monitor import monitor
from web.present import Now, Seen
from web.responses import json, shown, twin


async def crashes(request: Request) -> Response:
    return await shown(
        request, "crashes", lambda seen, now: views.crashes(now, readings.hangs(seen.log, seen.to)), "crashes"
    )


async def crashes_json(request: Request) -> Response:
    """The newest crashes, newest first, each with all of its evidence, and the hang that led to it."""

    def work(seen: Seen, now: Now) -> list[dict[str, Any]]:
        groups = views.crashes(now, readings.hangs(seen.log, seen.to))
        hung = groups["hung"]
        found = reversed(now.state.health.crashes)
        return [
            documents.crash_report(one) | {"hang": views.hang(hung[one.seq]) if one.seq in hung else None}
            for one in found
        ]

    return await twin(request, work)


async def before_json(request: Request) -> Response:
    """Everything as it was just before a crash: the fold of every fact before its own."""
    of = monitor(request)

    def work() -> dict[str, Any]:
        fact = pages.fact_at(of, request.path_params["id"].removeprefix("c"))
        if fact is None or not isinstance(fact.event, ProcessCrashed):
            raise HTTPException(404, "There is no such crash.")
        return moments.document(of.past.moment(fact.seq - 1))

    return json(await of.run(work))
