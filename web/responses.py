"""The responses: a page, its twin in JSON, and how a missing thing is said."""

from collections.abc import Callable
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from web.monitor import Monitor, monitor
from web.present import Now, Present
from web.render import page


def json(value: Any, status: int = 200) -> Response:
    """A JSON answer; NaN and Inf, which JSON lacks, become null."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


async def html(request: Request, work: Callable[[Monitor], str], status: int = 200) -> Response:
    """A page, made in a thread."""
    of = monitor(request)
    return HTMLResponse(await of.run(lambda: work(of)), status)


async def twin(request: Request, work: Callable[[Present, Now], Any]) -> Response:
    """The JSON twin of a page."""
    of = monitor(request)
    return json(await of.run(lambda: work(of.present, of.present.look())))


async def shown(
    request: Request,
    template: str,
    prepare: Callable[[Present, Now], dict[str, Any]],
    channel: str = "",
    notice: str = "",
    status: int = 200,
) -> Response:
    """The page of a template, from the present."""
    return await html(
        request,
        lambda of: page(
            template, prepare(of.present, of.present.look()) | {"channel": channel, "notice": notice}
        ),
        status,
    )


def missing(what: str) -> HTTPException:
    """404 with a sentence."""
    return HTTPException(404, what)
