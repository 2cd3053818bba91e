"""Reproduction: a version is made again in a scratch folder, from the log's facts alone, and compared.

Nothing is told to the log and nothing of the workspace is changed; the steps are those of `core.train.steps`.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from core.decide.disk import save_needs
from core.files import sha256_of
from core.model.consolidation import ConsolidationRefused, consolidate
from core.space import ensure_room, floor_of
from core.train import checkpoint, history
from core.train.comparison import Comparison, Difference
from core.train.history import History, Leg
from core.train.materials import Materials, Progress
from core.train.memory import Memory, recompute, settings_that_build
from core.train.planning import Way, way_of
from core.train.refusals import NonFinite, Unreproducible
from core.train.steps import Steps
from core.train.surroundings import device_name, software
from core.train.trainer import Figures
from db.processes import RoleLock
from db.reserve import NoRoom
from db.workspace import Workspace
from events.log import Log
from projections.fold import State
from projections.versions import Version

ROLE = "reproduction"
NAME = ".reproduction.partial-"  # with the pid: a clean-up knows by it what a process left that is gone


@dataclass(slots=True)
class Outcome:
    """What came of it. `hashes`: file → (recorded, now); `surroundings`: what differed then (then, now)."""

    begins_with: str | None  # the folder its weights were taken from; None: the base model
    first_step: int = 0  # of the run; 0: a release, which has no steps
    last_step: int = 0
    first: Difference | None = None
    differing_steps: int = 0
    largest: float = 0.0  # difference of a step's loss, nats per trained token
    hashes: dict[str, tuple[str, str]] = field(default_factory=dict)
    surroundings: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def is_identical(self) -> bool:
        same = all(recorded == now for recorded, now in self.hashes.values())
        return self.first is None and bool(self.hashes) and same


def reproduce(
    workspace: Workspace, log: Log, state: State, version: Version, progress: Progress
) -> Outcome:
    """Make this version again.

    Raises Unreproducible when something it was made of is not there any more, RoleTaken beside another
    reproduction.
    """
    with RoleLock(workspace.locks, ROLE), _scratch(workspace) as scratch:
        _ensure_room(workspace, state, version)
        materials = Materials(workspace, log, state, version, scratch, progress)
        if version.kind == "release":
            return _release(version, materials, scratch, progress)
        return _Rerun(history.read(log, version.run), materials, scratch, progress).outcome(version)


@contextmanager
def _scratch(workspace: Workspace) -> Iterator[Path]:
    """A folder of our own, gone afterwards; that of a reproduction which was killed goes first."""
    for left in workspace.temporary.glob(f"{NAME}*"):
        shutil.rmtree(left)
    scratch = workspace.temporary / f"{NAME}{os.getpid()}"
    scratch.mkdir(parents=True, mode=0o700)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch)


def _ensure_room(workspace: Workspace, state: State, version: Version) -> None:
    """Refuse what would take the disk below its floor: tokens, and the state at the end."""
    run = state.run.runs[version.run]
    tokens = 2 * state.inbox.files[run.sha256].size_bytes
    needs = version.size_bytes
    if version.kind == "run":
        needs = tokens + save_needs(state, str(run.config["precision"]))
    floor = floor_of(workspace, float(state.workspace.config["disk_floor_gb"]))
    try:
        ensure_room(workspace, f"making {version.id} again", needs, above=floor, then="then ask again")
    except NoRoom as error:
        raise Unreproducible(error.shortage) from error


def _release(version: Version, materials: Materials, scratch: Path, progress: Progress) -> Outcome:
    """The mean of its sources, computed again."""
    sources = [materials.resume_point(path, version.published) for path in version.sources]
    progress("consolidate", 0, 1)
    try:
        consolidate(sources, scratch)
    except ConsolidationRefused as error:
        raise Unreproducible(f"{version.id}: {error}") from error
    made = sha256_of(scratch / checkpoint.WEIGHTS)
    progress("consolidate", 1, 1)
    return Outcome(version.sources[0], hashes={checkpoint.WEIGHTS: (version.weights_sha256, made)})


class _Rerun:
    """A run's steps, trained again from where they began."""

    def __init__(self, known: History, materials: Materials, scratch: Path, progress: Progress) -> None:
        self._known, self._materials = known, materials
        self._scratch, self._progress = scratch, progress
        self._compared = Comparison(known.steps)
        self._done = known.first.step

    def outcome(self, version: Version) -> Outcome:
        first, threads = self._known.first, torch.get_num_threads()
        outcome = Outcome(first.checkpoint or first.weights, first.step + 1, first.steps_planned)
        made: list[tuple[Steps, Way]] = []
        for start, planned in zip(self._known.starts, self._known.plans, strict=True):
            way = way_of(planned, start.config["gradient_checkpointing"])
            steps = self._materials.steps(start, way.halvings)
            if isinstance(steps, Difference):
                outcome.first = steps
                return outcome
            made.append((replace(steps, halvings=self._known.halvings), way))
        try:
            memory = self._train(made, outcome)
        finally:
            torch.set_num_threads(threads)
        outcome.first = self._compared.first
        outcome.differing_steps, outcome.largest = self._compared.differing, self._compared.largest
        end = self._known.end
        if self._done == first.steps_planned and end is not None:
            saved = checkpoint.write(self._scratch / "end", memory.model.network, memory.optimizer, {})
            outcome.hashes[checkpoint.WEIGHTS] = (version.weights_sha256, saved.weights_sha256)
            outcome.hashes[checkpoint.MOMENTS] = (end.moments_sha256, saved.moments_sha256)
        return outcome

    def _train(self, made: list[tuple[Steps, Way]], outcome: Outcome) -> Memory:
        """Every leg, until one goes wrong in a way that it did not then."""
        memory: Memory | None = None
        for leg in self._known.legs():
            if leg.threads is not None:
                torch.set_num_threads(leg.threads)
            steps, way = made[leg.start]
            if memory is None:
                memory = self._materials.memory(self._known.first, self._known.began, steps.settings)
            elif memory.built_for != settings_that_build(steps.settings):
                memory = self._materials.built_anew(memory, steps.settings)
            recompute(memory, way.checkpointing)
            found = _surroundings(self._known, leg, memory)
            for name in found.keys() - outcome.surroundings.keys():
                then, now = found[name]
                self._progress(f"{name} was {then}, now {now}; train", self._done, steps.plan.steps_planned)
            outcome.surroundings |= found
            self._leg(leg, steps, memory)
            if self._done < leg.last:
                break
        assert memory is not None
        return memory

    def _leg(self, leg: Leg, steps: Steps, memory: Memory) -> None:
        def after_step(figures: Figures) -> bool:
            self._compared.take(figures)
            self._done = figures.step
            os.utime(self._scratch)  # in use: no clean-up takes it for left behind
            self._progress("train", figures.step, self._known.first.steps_planned)
            return figures.step < leg.last

        ahead = self._known.first.global_step - self._known.first.step
        try:
            steps.train(
                memory,
                done=self._done,
                global_step=self._done + ahead,
                folder=self._scratch,
                after_step=after_step,
            )
        except NonFinite:
            if self._compared.first is None:
                raise


def _surroundings(known: History, leg: Leg, memory: Memory) -> dict[str, tuple[str, str]]:
    """What the first try that trained steps of this leg rested on and is otherwise now: (then, now)."""
    attempt = known.attempts[known.steps[leg.first].attempt]
    then = {**attempt.software, "device": attempt.device, "attention": attempt.attention}
    now = {**software(), "device": device_name(memory.model.device), "attention": memory.attention}
    return {name: (then[name], now[name]) for name in now if name in then and then[name] != now[name]}
