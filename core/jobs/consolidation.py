"""Consolidation: a release is computed by a process of its own, verified here, and published as a version."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from core.config import parse
from core.decide import card
from core.decide import consolidation as decide
from core.decide.consolidation import Plan
from core.files import fsync_file, link_or_copy, sha256_of
from core.inspection import folder_problems
from core.jobs.publish import BESIDE_WEIGHTS, FROM_BASE, MANIFEST, NUMBERING, describe, into_place, seal
from core.jobs.service import Service
from core.space import ensure_room, floor_of
from core.tensors import TensorsUnreadable, nonfinite, tensors
from db.processes import PARENT
from events.log import now_us
from events.types import CheckpointQuarantined
from projections.control import Request

WEIGHTS = "model.safetensors"
AGAIN_SECONDS = 3600.0  # after a release that nobody asked for could not be made
MARK = "evertrain: "
BYTES_PER_PARAMETER = 2  # in bf16
FLOATS = ("F64", "F32", "F16", "BF16")


class ReleaseFailed(Exception):
    """One that nobody asked for; the job's alert tells it until it is tried again."""


class Consolidation:
    """The daemon's job: what was asked for, and what is due."""

    def __init__(self, clock: Callable[[], int] = now_us) -> None:
        self._clock = clock  # µs
        self._failed: str | None = None
        self._not_before = 0.0  # monotonic

    def work(self, service: Service) -> None:
        """Make one release, if there is one to make. Raises ReleaseFailed, NoRoom."""
        answer_consolidation(service)
        now = time.monotonic()
        if now >= self._not_before and not service.stop.is_set():
            self._failed = None
            if decide.is_due(service.state(), self._clock()):
                self._failed = _make(service, None)
                if self._failed is not None:
                    self._not_before = now + AGAIN_SECONDS
        if self._failed is not None:
            raise ReleaseFailed(self._failed)


def answer_consolidation(service: Service) -> None:
    """Make what was asked for, or say why not; a request that a shutdown cut short stays open.

    So does one for which there is no space: raises NoRoom.
    """
    shutil.rmtree(_place(service), ignore_errors=True)  # of one that a crash cut short
    while (request := service.state().control.first("ConsolidateRequested")) is not None:
        if service.stop.is_set():
            return
        problem = _make(service, request)
        if problem is not None:
            service.append(*decide.failed(request, problem))


def _make(service: Service, request: Request | None) -> str | None:
    """One release; what went wrong, if anything did. Of damaged sources each is quarantined, others used."""
    while True:
        if request is not None and service.decide(lambda s: decide.refused(s, request), decide.DEPENDS_ON):
            return None
        plan = decide.plan(service.state(), request)
        if plan is None or not decide.is_open(service.state(), plan):
            return None
        _ensure_room(service)
        if not _quarantine(service, plan):
            break
    partial = _place(service)
    partial.mkdir(parents=True, mode=0o700)
    try:
        problem = _compute(service, plan, partial)
        if problem is None and not service.stop.is_set():
            publish_release(service, plan, partial)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return problem


def _ensure_room(service: Service) -> None:
    """Raise NoRoom, before anything is read or computed, when a release would not leave the floor free."""
    created, place = service.state().workspace.created, service.workspace
    needs = (created.parameters if created is not None else 0) * BYTES_PER_PARAMETER + BESIDE_WEIGHTS
    ensure_room(place, "a release", needs, above=floor_of(place, service.settings().disk_floor_gb))


def _place(service: Service) -> Path:
    """Where a release is staged; one is made at a time."""
    return service.workspace.versions / ".release.partial"


def _quarantine(service: Service, plan: Plan) -> bool:
    """Read every byte of the sources; was one damaged?"""
    found = False
    for point in plan.points:
        problems = folder_problems(service.workspace.root / point.path, point.manifest_sha256)
        if problems:
            service.append(CheckpointQuarantined(path=point.path, problems=tuple(problems)))
            found = True
    return found


def _compute(service: Service, plan: Plan, partial: Path) -> str | None:
    """The child stages weights and configuration; what is wrong with them, or with its end."""
    workspace = service.workspace
    sources = [str(workspace.root / point.path) for point in plan.points]
    workspace.temporary.mkdir(parents=True, exist_ok=True, mode=0o700)
    words = workspace.temporary / "consolidation.err"
    with words.open("wb") as errors:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "core.model.consolidation", "--to", str(partial), *sources],
            env={**os.environ, **workspace.environment(), PARENT: str(os.getpid())},
            stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, close_fds=True,
        )  # fmt: skip
    busy = _worked(child.pid)
    try:
        while child.poll() is None:
            if (now := _worked(child.pid)) != busy:
                busy = now
                service.progress.moved()  # it computes: this job waits, but nothing stands still
            if service.stop.wait(0.05):
                return None  # asked again by the next service: the request stays
    finally:
        child.kill()
        child.wait()
    if child.returncode != 0:
        said = words.read_text(encoding="utf-8", errors="replace").splitlines()
        told = [line.removeprefix(MARK) for line in said if line.startswith(MARK)]
        return told[-1] if told else f"its process ended with {child.returncode}"
    return _problem(partial, workspace.root / plan.points[0].path)


def _worked(pid: int) -> float:
    """Seconds of processor time that a process has used so far; 0 when it is gone."""
    try:
        return float(sum(psutil.Process(pid).cpu_times()[:2]))
    except psutil.NoSuchProcess:
        return 0.0


def _problem(partial: Path, source: Path) -> str | None:
    """Weights of the same names and shapes as the source's, in bf16, finite; else what is wrong."""
    try:
        made, known = tensors(partial / WEIGHTS), tensors(source / WEIGHTS)
        if {n: t.shape for n, t in made.items()} != {n: t.shape for n, t in known.items()}:
            return "what was written has other parameters than its source"
        if {t.dtype for t in made.values() if t.dtype in FLOATS} != {"BF16"}:
            return "what was written is not in bf16"
        spoilt = nonfinite(partial / WEIGHTS)
    except (OSError, TensorsUnreadable) as error:
        return f"what was written cannot be read: {error}"
    return f"{spoilt[0]} is not finite" if spoilt else None


def publish_release(service: Service, plan: Plan, partial: Path) -> None:
    """Complete the staged folder, rename it into place, tell. What is no longer wanted goes back to staging.

    A crash before the fact leaves a folder that no fact knows: whoever comes to its number removes it.
    """
    for path in partial.iterdir():
        fsync_file(path)
    for name in FROM_BASE:
        if (service.base() / name).exists():
            link_or_copy(service.base() / name, partial / name)
    with NUMBERING:
        state = service.state()
        run = state.run.runs[plan.points[0].run]
        settings = parse(run.config)
        describe(partial, service, settings)
        log_seq, log_hash = service.log.commit_of(plan.points[0].saved)
        document = decide.manifest(state, plan, log_seq, log_hash.hex())
        folder = service.workspace.versions / document["id"]
        seal(partial, document, card.card(document, run, settings))
        into_place(service, partial, folder)
        sha256, where = sha256_of(folder / MANIFEST), service.workspace.relative(folder)
        if not service.decide(
            lambda s: decide.published(s, plan, document, sha256, where), decide.DEPENDS_ON
        ):
            folder.rename(partial)
