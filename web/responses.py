"""The responses: a page, its twin in JSON, of now or as of `?at=N`, and how a missing thing is said."""

from collections.abc import Callable
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from projections import moments
from projections.status import iso
from web import zoom
from web.monitor import Monitor, monitor
from web.plots import Curves
from web.present import Now, Seen
from web.render import page
from web.then import Then
from web.trail import Span


def json(value: Any, status: int = 200) -> Response:
    """A JSON answer; NaN and Inf, which JSON lacks, become null."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def html(request: Request, work: Callable[[Monitor], str], status: int = 200) -> Response:
    """A page, made in a thread."""
    of = monitor(request)
    return HTMLResponse(await of.run(lambda: work(of)), status)


async def twin(request: Request, work: Callable[[Seen, Now], Any]) -> Response:
    """The JSON twin of a page."""
    of = monitor(request)

    def made() -> Any:
        seen = seen_by(of, request)
        return work(seen, seen.look())

    return json(await of.run(made))


async def shown(
    request: Request,
    template: str,
    prepare: Callable[[Seen, Now], dict[str, Any]],
    channel: str = "",
    notice: str = "",
    status: int = 200,
) -> Response:
    """The page of a template, from the present, or read-only as of the position that `at` names."""

    def work(of: Monitor) -> str:
        seen = seen_by(of, request)
        values = prepare(seen, seen.look()) | {"channel": channel, "notice": notice}
        if seen.to is not None:
            values |= {
                "at": seen.to, "end": of.log.head(), "iso": iso(values["now"].at), "read_only": True,
                "channel": "", "here_now": request.url.path,
            }  # fmt: skip
        return page(template, values)

    return await html(request, work, status)


def position(of: Monitor, name: str, text: str) -> int:
    """The position of the log that a parameter names. Raises HTTPException."""
    try:
        return of.past.position(text)
    except moments.NotYet as error:
        raise HTTPException(404, f"{name}: {error}.") from error
    except moments.NoSuchMoment as error:
        raise HTTPException(400, f"{name}: {error}.") from error


def seen_by(of: Monitor, request: Request) -> Seen:
    """The log as it stands, or as it stood at the position that `at` names. Raises HTTPException."""
    text = request.query_params.get("at", "").strip()
    return Then(of.past, of.workspace, position(of, "at", text)) if text else of.present


def span_of(request: Request) -> Span | None:
    """The steps that `from` and `to` name; None: all of them. Raises HTTPException."""
    try:
        return zoom.parse(request.query_params)
    except zoom.BadSpan as error:
        raise HTTPException(400, f"{error}.") from error


def zoom_of(request: Request, curves: Curves, at: int | None = None) -> dict[str, Any]:
    """What stands under the chart of this address.

    `at`: the position that is shown, where the address does not say it.
    """
    query = dict(request.query_params) | ({} if at is None else {"at": str(at)})
    return zoom.controls(curves.trail, request.url.path, query)


def missing(what: str) -> HTTPException:
    """404 with a sentence."""
    return HTTPException(404, what)
