"""The pages of what was trained: all runs, one run, one file."""

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from projections import reports
from web import audit, run_views, views
from web.present import Now, Seen
from web.responses import missing, shown, span_of, twin, zoom_of


def _before(request: Request) -> int | None:
    try:
        return audit.position("before", request.query_params)
    except audit.BadFilter as error:
        raise HTTPException(400, f"{error}.") from error


async def runs(request: Request) -> Response:
    before = _before(request)
    channel = "runs" if before is None else ""  # older pages do not change
    return await shown(request, "runs", lambda p, now: run_views.runs(p, now, before), channel)


async def runs_json(request: Request) -> Response:
    before = _before(request)
    return await twin(request, lambda p, now: run_views.run_list(p, now, before))


async def run(request: Request) -> Response:
    name, span = request.path_params["id"], span_of(request)

    def prepare(seen: Seen, now: Now) -> dict[str, Any]:
        _known(now, name)
        curves = seen.curves_of(now.state.run.runs[name], span)
        found = run_views.run(seen, now, name) | views.charts(curves, newest=False)
        return found | zoom_of(request, curves)

    return await shown(request, "run", prepare, f"run/{name}")


async def run_json(request: Request) -> Response:
    name = request.path_params["id"]

    def prepare(seen: Seen, now: Now) -> dict[str, Any]:
        _known(now, name)
        return run_views.run_document(seen, now, name)

    return await twin(request, prepare)


def _known(now: Now, name: str) -> None:
    if name not in now.state.run.runs:
        raise missing(f"There is no run {name}.")


async def file(request: Request) -> Response:
    sha256 = request.path_params["sha256"]

    def prepare(seen: Seen, now: Now) -> dict[str, Any]:
        _received(now, sha256)
        return run_views.file(seen, now, sha256)

    return await shown(request, "file", prepare)


async def file_json(request: Request) -> Response:
    sha256 = request.path_params["sha256"]

    def prepare(seen: Seen, now: Now) -> dict[str, Any] | None:
        _received(now, sha256)
        return reports.file_report(now.state, sha256)

    return await twin(request, prepare)


def _received(now: Now, sha256: str) -> None:
    if sha256 not in now.state.inbox.files or sha256 not in now.state.queue.entries:
        raise missing(f"No file with the SHA-256 {sha256} was ever received here.")
