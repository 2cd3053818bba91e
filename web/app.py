"""The application: every address there is, as a list, behind one guard."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from db.workspace import Workspace
from web import actions, crashes, guard, keeping_actions, keeping_pages, pages, replay, training_pages
from web.forms import BadForm
from web.monitor import Monitor
from web.render import page

LOGGER = logging.getLogger(__name__)

ROUTES: tuple[BaseRoute, ...] = (
    Route("/", pages.overview),
    Route("/index.json", pages.overview_json),
    Route("/curves.json", pages.curves_json),
    Route("/queue", pages.queue),
    Route("/queue.json", pages.queue_json),
    Route("/runs", training_pages.runs),
    Route("/runs.json", training_pages.runs_json),
    Route("/runs/{id}.json", training_pages.run_json),
    Route("/runs/{id}", training_pages.run),
    Route("/files/{sha256}.json", training_pages.file_json),
    Route("/files/{sha256}", training_pages.file),
    Route("/versions", keeping_pages.versions),
    Route("/versions.json", keeping_pages.versions_json),
    Route("/versions/diff.json", keeping_pages.diff_json),
    Route("/versions/diff", keeping_pages.diff),
    Route("/versions/{id}/restore.json", keeping_pages.restore_json),
    Route("/versions/{id}/restore", keeping_pages.restore),
    Route("/versions/{id}.json", keeping_pages.version_json),
    Route("/versions/{id}", keeping_pages.version),
    Route("/backups", keeping_pages.backups),
    Route("/backups.json", keeping_pages.backups_json),
    Route("/disk", keeping_pages.disk),
    Route("/disk.json", keeping_pages.disk_json),
    Route("/system", keeping_pages.system),
    Route("/system.json", keeping_pages.system_json),
    Route("/crashes", crashes.crashes),
    Route("/crashes.json", crashes.crashes_json),
    Route("/crashes/{id}/before.json", crashes.before_json),
    Route("/replay", replay.replay),
    Route("/replay.json", replay.replay_json),
    Route("/audit", pages.audit_page),
    Route("/audit.json", pages.audit_json),
    Route("/audit.jsonl", pages.audit_lines),
    Route("/events/{seq}.json", pages.event_json),
    Route("/events/{seq}", pages.event),
    Route("/live", pages.live_stream),
    Route("/healthz", pages.healthz),
    Route("/live_monitor_ui_v2.html", pages.old_address),
    Route("/static/{version}/{name}", pages.asset),
    Route("/pause", actions.pause, methods=["POST"]),
    Route("/resume", actions.resume, methods=["POST"]),
    Route("/skip", actions.skip, methods=["POST"]),
    Route("/stop", actions.stop, methods=["POST"]),
    Route("/queue/move", actions.move, methods=["POST"]),
    Route("/queue/remove", actions.remove, methods=["POST"]),
    Route("/queue/retry", actions.retry, methods=["POST"]),
    Route("/queue/upload", actions.take, methods=["POST"]),
    Route("/versions/{id}/restore", keeping_actions.restore, methods=["POST"]),
    Route("/versions/{id}/pin", keeping_actions.pin, methods=["POST"]),
    Route("/versions/{id}/unpin", keeping_actions.unpin, methods=["POST"]),
    Route("/consolidate", keeping_actions.consolidate, methods=["POST"]),
    Route("/backups/now", keeping_actions.back_up, methods=["POST"]),
    Route("/disk/clean", keeping_actions.clean, methods=["POST"]),
)

TITLES = {400: "Not understood", 404: "Not found", 405: "Not possible here", 500: "Something broke"}


def create_app(
    workspace: Workspace, *, hosts: Iterable[str] = guard.LOCAL, failed: Callable[[], None] | None = None
) -> Starlette:
    """The monitor of a workspace. `hosts`: the names it answers to, without port.

    `failed` is called when the live view has ended unasked. Raises LogUnreadable.
    """
    monitor = Monitor(workspace)

    def ended() -> None:
        monitor.failed = True
        monitor.hub.close()
        if failed is not None:
            failed()

    def done(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            LOGGER.error("the monitor ends, to be started again", exc_info=error)
            ended()

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        monitor.pulse.start(asyncio.get_running_loop(), ended)
        # warm: the first visitor need not wait for it
        tasks = [asyncio.create_task(work) for work in (monitor.beat(), monitor.run(monitor.warm))]
        for task in tasks:
            task.add_done_callback(done)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)  # `done` has told of the failed ones
            monitor.close()

    app = Starlette(
        routes=list(ROUTES),
        lifespan=lifespan,
        middleware=[
            Middleware(guard.Guard, hosts=tuple(hosts)),
            Middleware(GZipMiddleware, minimum_size=1000),  # lets event streams pass as they are
        ],
        exception_handlers={HTTPException: _refused, BadForm: _bad_form, Exception: _broke},
    )
    app.state.monitor = monitor
    return app


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _plain(error.status_code, error.detail, error.headers)


async def _bad_form(request: Request, error: Exception) -> Response:
    assert isinstance(error, BadForm)
    return _plain(error.status, f"{str(error)[:1].upper()}{str(error)[1:]}. Nothing was changed.")


async def _broke(request: Request, error: Exception) -> Response:
    # sent outside the guard, so it carries the guard's headers itself; the trace goes to the service's log
    return _plain(500, "The daily log in the workspace's logs/ folder has the trace.", guard.HEADERS)


def _plain(status: int, text: str, headers: object = None) -> Response:
    title = TITLES.get(status, "Refused")
    given = dict(headers) if isinstance(headers, dict) else None
    return HTMLResponse(page("error", {"title": title, "text": text, "status": status}), status, given)
