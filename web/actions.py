"""The actions: a POST appends exactly one request and redirects; what comes of it is its owner's answer."""

from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from db.workspace import PRIORITIES
from events.log import Conflict, KeyReused
from events.types import (
    Event,
    MoveRequested,
    PauseRequested,
    RemoveRequested,
    ResumeRequested,
    RetryRequested,
    ServicePaused,
    ServiceResumed,
    ServiceStopped,
    SkipRequested,
    StopRequested,
    TrainingCompleted,
    TrainingFailed,
    TrainingPaused,
    TrainingSkipped,
    TrainingStarted,
    TrainingStopped,
)
from web import pages, upload
from web.forms import BadForm, fields, number
from web.monitor import monitor

Show = Callable[[Request, str, int], Awaitable[Response]]

#: What makes a button stale: somebody else asked, or it was answered, after the page was made.
MODE = (
    PauseRequested, ResumeRequested, StopRequested, ServicePaused, ServiceResumed, ServiceStopped,
    TrainingPaused, TrainingStopped,
)  # fmt: skip
RUN = (
    TrainingStarted, TrainingCompleted, TrainingFailed, TrainingSkipped, TrainingStopped, SkipRequested,
    StopRequested,
)  # fmt: skip


async def ask(
    request: Request,
    form: dict[str, str],
    fact: Event,
    show: Show,
    to: str,
    unless: tuple[type[Event], ...] = (),
) -> Response:
    """Append the request once, however often the form is sent; refuse it when the page was out of date."""
    of, text = monitor(request), form.get("seq", "")
    more: dict[str, Any] = {}
    if text:
        if (seq := number(text)) is None:
            raise BadForm("seq: not a log position")
        # one form, as it stood at this position, is one command: a double click gets the first answer again
        more = {"key": f"web:{request.url.path}:{text}:{fact!r}", "unless": unless, "after": seq}
    try:
        await of.run(lambda: of.log.append(fact, **more))
    except (Conflict, KeyReused) as error:
        return await show(request, f"Nothing was changed, because this page was out of date: {error}.", 409)
    return RedirectResponse(to, 303)


async def pause(request: Request) -> Response:
    return await ask(request, await fields(request), PauseRequested(), pages.overview, "/", MODE)


async def resume(request: Request) -> Response:
    return await ask(request, await fields(request), ResumeRequested(), pages.overview, "/", MODE)


async def stop(request: Request) -> Response:
    return await ask(request, await fields(request), StopRequested(), pages.overview, "/", MODE)


async def skip(request: Request) -> Response:
    form = await fields(request)
    return await ask(request, form, SkipRequested(run=form.get("run") or None), pages.overview, "/", RUN)


async def move(request: Request) -> Response:
    form = await fields(request)
    priority = form.get("priority", "")
    if priority not in PRIORITIES:
        raise BadForm(f"priority: {priority!r} is not one of {', '.join(PRIORITIES)}")
    fact = MoveRequested(sha256=await _file(request, form), priority=priority)
    return await _of_file(request, form, fact)


async def remove(request: Request) -> Response:
    form = await fields(request)
    fact = RemoveRequested(sha256=await _file(request, form))
    return await _of_file(request, form, fact)


async def retry(request: Request) -> Response:
    form = await fields(request)
    fact = RetryRequested(sha256=await _file(request, form))
    return await _of_file(request, form, fact)


async def _of_file(
    request: Request, form: dict[str, str], fact: MoveRequested | RemoveRequested | RetryRequested
) -> Response:
    """Ask, and go back to the page that asked: the queue, or the file's own."""
    to = f"/files/{fact.sha256}" if form.get("page") == "file" else "/queue"
    return await ask(request, form, fact, pages.queue, to)


async def take(request: Request) -> Response:
    of = monitor(request)
    taken = await upload.receive(request, of.workspace, of.run)
    return RedirectResponse(f"/queue?taken={len(taken)}", 303)


async def _file(request: Request, form: dict[str, str]) -> str:
    """The file a form is about. Raises BadForm for one the log does not know."""
    of, sha256 = monitor(request), form.get("sha256", "")
    now = await of.run(of.present.look)
    if sha256 not in now.state.queue.entries:
        raise BadForm("there is no such file in the queue", 404)
    return sha256
