"""The pages of what is kept (versions, backups, the disk), and of the machine."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from projections import documents, keeping
from projections.versions import Version
from web import keeping_views, system_views
from web.present import Now, Seen
from web.responses import missing, shown, twin


async def versions(request: Request, notice: str = "", status: int = 200) -> Response:
    return await shown(
        request, "versions", lambda _, now: keeping_views.versions(now), "versions", notice, status
    )


async def versions_json(request: Request) -> Response:
    return await twin(request, lambda _, now: keeping_views.version_list(now))


def _version(now: Now, name: str) -> Version:
    found = now.state.versions.versions.get(name)
    if found is None:
        raise missing(f"There is no version {name}.")
    return found


async def version(request: Request, notice: str = "", status: int = 200) -> Response:
    name = request.path_params["id"]
    return await shown(
        request, "version", lambda _, now: keeping_views.version(now, _version(now, name)), "", notice, status
    )


async def version_json(request: Request) -> Response:
    name = request.path_params["id"]
    return await twin(request, lambda _, now: keeping_views.version_document(now, _version(now, name)))


async def restore(request: Request, notice: str = "", status: int = 200) -> Response:
    name = request.path_params["id"]
    return await shown(
        request, "restore", lambda _, now: keeping_views.restore(now, _version(now, name)), "", notice, status
    )


async def restore_json(request: Request) -> Response:
    name = request.path_params["id"]
    return await twin(request, lambda _, now: keeping.restore_preview(now.state, _version(now, name)))


def _pair(request: Request, now: Now) -> tuple[Version, Version]:
    """The two versions a query names; without `b`: the current one."""
    a = request.query_params.get("a", "")
    b = request.query_params.get("b", "") or now.state.versions.current or ""
    return _version(now, a), _version(now, b)


async def diff(request: Request) -> Response:
    return await shown(request, "diff", lambda _, now: keeping_views.diff(now, *_pair(request, now)))


async def diff_json(request: Request) -> Response:
    return await twin(request, lambda _, now: documents.versions_diff(now.state, *_pair(request, now)))


async def backups(request: Request, notice: str = "", status: int = 200) -> Response:
    return await shown(
        request, "backups", lambda _, now: keeping_views.backups(now), "backups", notice, status
    )


async def backups_json(request: Request) -> Response:
    return await twin(request, lambda _, now: keeping.backups(now.state))


async def disk(request: Request, notice: str = "", status: int = 200) -> Response:
    def prepare(seen: Seen, now: Now) -> dict[str, Any]:
        return keeping_views.disk(seen, now) | {"chart": keeping_views.free_chart(seen)}

    return await shown(request, "disk", prepare, "disk", notice, status)


async def disk_json(request: Request) -> Response:
    return await twin(request, keeping_views.disk_document)


async def system(request: Request) -> Response:
    return await shown(request, "system", system_views.system, "system")


async def system_json(request: Request) -> Response:
    return await twin(request, system_views.document)
