"""The actions on what is kept: versions, backups, the disk. Each POST appends exactly one request."""

from starlette.requests import Request
from starlette.responses import Response

from events.types import (
    BackupRequested,
    BackupStarted,
    BackupVerified,
    CleanRequested,
    ConsolidateRequested,
    DiskCleaned,
    Event,
    PinRequested,
    RestoreRequested,
    TrainingCompleted,
    TrainingStarted,
    UnpinRequested,
    VersionDeleted,
    VersionPinned,
    VersionPublished,
    VersionRestored,
    VersionRetired,
    VersionUnpinned,
)
from web import keeping_pages
from web.actions import ask
from web.forms import BadForm, fields, number
from web.monitor import monitor

MOST_AVERAGED = 100

#: What makes each button stale when it is newer than the page.
PLACE: tuple[type[Event], ...] = (
    RestoreRequested, VersionRestored, VersionPublished, VersionRetired, VersionDeleted, TrainingStarted,
    TrainingCompleted,
)  # fmt: skip
PINS: tuple[type[Event], ...] = (
    PinRequested, UnpinRequested, VersionPinned, VersionUnpinned, VersionRetired, VersionDeleted,
)  # fmt: skip
RELEASES: tuple[type[Event], ...] = (ConsolidateRequested, VersionPublished, VersionRestored)
BACKUPS: tuple[type[Event], ...] = (BackupRequested, BackupStarted, BackupVerified)
CLEANS: tuple[type[Event], ...] = (CleanRequested, DiskCleaned)


async def restore(request: Request) -> Response:
    form, name = await fields(request), await _version(request)
    fact = RestoreRequested(version=name)
    return await ask(request, form, fact, keeping_pages.restore, f"/versions/{name}", PLACE)


async def pin(request: Request) -> Response:
    form, name = await fields(request), await _version(request)
    return await ask(
        request, form, PinRequested(version=name), keeping_pages.version, f"/versions/{name}", PINS
    )


async def unpin(request: Request) -> Response:
    form, name = await fields(request), await _version(request)
    fact = UnpinRequested(version=name)
    return await ask(request, form, fact, keeping_pages.version, f"/versions/{name}", PINS)


async def consolidate(request: Request) -> Response:
    form = await fields(request)
    text = form.get("average", "1")
    average = number(text)
    if average is None or not 1 <= average <= MOST_AVERAGED:
        raise BadForm(f"average: {text[:20]!r} is not a whole number from 1 to {MOST_AVERAGED}")
    fact = ConsolidateRequested(average=average)
    return await ask(request, form, fact, keeping_pages.versions, "/versions", RELEASES)


async def back_up(request: Request) -> Response:
    form = await fields(request)
    return await ask(request, form, BackupRequested(), keeping_pages.backups, "/backups", BACKUPS)


async def clean(request: Request) -> Response:
    form = await fields(request)
    return await ask(request, form, CleanRequested(), keeping_pages.disk, "/disk", CLEANS)


async def _version(request: Request) -> str:
    """The version an address names. Raises BadForm for one the log does not know."""
    of, name = monitor(request), str(request.path_params["id"])
    now = await of.run(of.present.look)
    if name not in now.state.versions.versions:
        raise BadForm("there is no such version", 404)
    return name
