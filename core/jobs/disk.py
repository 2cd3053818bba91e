"""The disk: watch the floor, keep the reserve, and clean cheapest first until there is enough."""

import shutil
import time
from pathlib import Path
from typing import Any

from core.decide import disk
from core.decide.disk import Found, Item
from core.decide.retention import what_would_go
from core.jobs.leftovers import begun, entries, is_alone, orphans
from core.jobs.retention import retention
from core.jobs.service import Service
from db.processes import holder
from db.reserve import Reserve
from db.usage import measure, removable_bytes
from db.workspace import Workspace
from events.types import CheckpointQuarantined, DriftFound
from projections.fold import State

QUIET_SECONDS = 600.0  # between two looks for something to clean, while nothing changes
MEASURE_SECONDS, MEASURE_AT_MOST = 600.0, 60.0  # between two measurements: at rest, and while things change


class Disk:
    """Holds what is to be remembered between two turns of the job.

    Made before anything else is at work on the workspace: what lies begun by then, and is still untouched
    when its turn comes, nobody will finish.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._old = {path: _mark(path) for path in begun(workspace)} if is_alone(workspace) else {}
        self._seen: object = None
        self._look_at = 0.0
        self._usage: dict[str, Any] = {}
        self._measured = (-1, -MEASURE_SECONDS)

    def care(self, service: Service) -> None:
        """One turn: the alert, the answer to requests, a clean-up where one is due, the reserve."""
        workspace, state, settings = service.workspace, service.state(), service.settings()
        whole = shutil.disk_usage(workspace.root).total
        floor = disk.floor_bytes(settings.disk_floor_gb, whole)
        target = disk.target_bytes(settings.disk_target_gb, whole)
        asked = state.control.first("CleanRequested") is not None
        try:
            if asked:
                self._clean(service, None, "asked for")
            elif _free(workspace) < target and self._is_due(state):
                self._clean(service, target, f"less than {disk.amount(target)} were free (disk_target_gb)")
        finally:  # what cannot be cleaned is one more reason to watch the floor
            Reserve(workspace.reserve).keep()
            free = _free(workspace)
            service.decide(lambda now: disk.watch_floor(now, free, floor), disk.ALERTS)
            if "waiting:save" in state.health.alerts and not holder(workspace.locks, "trainer"):
                # the trainer ended while it waited
                service.decide(lambda now: disk.waiting(now, "save", None), disk.ALERTS)

    def usage(self, service: Service) -> dict[str, Any]:
        """{kinds, reclaimable} in bytes, measured every ten minutes and soon after something changed."""
        state, now = service.state(), time.monotonic()
        seq, at = self._measured
        if now - at >= (MEASURE_AT_MOST if state.seq != seq else MEASURE_SECONDS):
            self._measured = (state.seq, now)
            found = items(service, self._leftovers(service.workspace))
            self._usage = {"kinds": measure(service.workspace), "reclaimable": sizes_by_kind(found)}
        return self._usage

    def _is_due(self, state: State) -> bool:
        """Did a file, a resume point or a version change since the last look, or is that long ago?"""
        seen, now = (state.queue, state.storage, state.versions), time.monotonic()
        if now < self._look_at and self._seen == seen:
            return False
        self._seen, self._look_at = seen, now + QUIET_SECONDS
        return True

    def _clean(self, service: Service, target: float | None, reason: str) -> None:
        """Remove what may go, cheapest first; stop at `target` bytes free (None: all of it).

        What cannot be removed keeps nothing else from going; the first of such failures is raised at the end.
        """
        freed: dict[str, int] = {}
        failed: list[OSError] = []

        def is_enough() -> bool:
            return target is not None and _free(service.workspace) >= target

        found, root = items(service, self._leftovers(service.workspace)), service.workspace.root
        for item in found:
            if is_enough():
                break
            if item.kind == "retired":  # those have words and facts of their own
                continue
            try:
                remove(root / item.path)
            except OSError as error:
                failed.append(error)
            else:
                freed[item.kind] = freed.get(item.kind, 0) + item.size
        if not is_enough():
            try:
                retention(service)
            except OSError as error:
                failed.append(error)
            gone = [item for item in found if item.kind == "retired" and not (root / item.path).exists()]
            freed |= sizes_by_kind(gone)
        if target is None or freed:
            service.decide(lambda state: disk.cleaned(state, freed, reason), disk.DEPENDS_ON)
        if failed:
            raise failed[0]

    def _leftovers(self, workspace: Workspace) -> list[Path]:
        untouched = [path for path, mark in self._old.items() if _mark(path) == mark]
        return [*untouched, *(path for path in orphans(workspace) if path not in self._old)]


def listing(service: Service) -> list[Item]:
    """What a clean-up would take now. What was begun and left, a running service alone can tell: not here."""
    workspace = service.workspace
    alone = holder(workspace.locks, "daemon") is None and is_alone(workspace)
    found = list(begun(workspace)) if alone else []
    return items(service, [*found, *(path for path in orphans(workspace) if path not in found)])


def sizes_by_kind(found: list[Item]) -> dict[str, int]:
    """kind → bytes."""
    sizes: dict[str, int] = {}
    for item in found:
        sizes[item.kind] = sizes.get(item.kind, 0) + item.size
    return sizes


def items(service: Service, leftovers: list[Path]) -> list[Item]:
    """What may go at this moment, cheapest first."""
    workspace, state = service.workspace, service.state()

    def sizes(paths: list[Path]) -> dict[str, int]:
        return {workspace.relative(path): removable_bytes(path) for path in paths}

    reports = [
        path
        for path in sorted(workspace.temporary.glob("report-*.json"))
        if path.name[7:-5] not in state.queue.unsettled and path not in leftovers
    ]
    going = what_would_go(state, service.settings())
    versions = [state.versions.versions[one.id].path for one in going if one.kind == "version"]
    paths = [*versions, *(one.id for one in going if one.kind == "checkpoint")]
    condemned = [workspace.root / path for path in paths]
    found = Found(
        leftovers=sizes([*leftovers, *reports]),
        quarantine=sizes(entries(workspace.quarantine)),
        tokens=sizes([path for path in entries(workspace.tokens) if not path.name.startswith(".")]),
        logs=sizes(entries(workspace.logs)),
        retired=sizes([path for path in condemned if path.is_dir()]),
    )
    return disk.removable(state, found, _named(service, list(found.quarantine)))


def remove(path: Path) -> None:
    """A file or a whole folder; what is gone already is fine."""
    try:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    except FileNotFoundError:
        if path.exists():
            raise


def archived_bytes(workspace: Workspace) -> int:
    """Bytes of trained files, which no clean-up takes."""
    return removable_bytes(workspace.queue / "recently_completed")


def _named(service: Service, quarantined: list[str]) -> dict[str, int]:
    """Quarantined path → µs of the newest fact that tells of it."""
    told: dict[str, int] = {}
    if not quarantined:
        return told
    for recorded in service.log.read(types=(DriftFound, CheckpointQuarantined)):
        event = recorded.event
        for path in quarantined:
            name = path.rpartition("/")[2]
            if isinstance(event, CheckpointQuarantined):
                about = name.rpartition(".")[0] == event.path.rpartition("/")[2]
            else:
                about = isinstance(event, DriftFound) and path in f"{event.detail} {event.remedy}".split()
            if about:
                told[path] = recorded.at
    return told


def _mark(path: Path) -> tuple[int, int] | None:
    """What changes when something is made again under the same name, or written into."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_ctime_ns


def _free(workspace: Workspace) -> int:
    return shutil.disk_usage(workspace.root).free
