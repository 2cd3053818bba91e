"""Resume points and the log: one counts once `CheckpointSaved` says so, and only intact ones are used."""

from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from core.decide.resume import positions
from core.inspection import folder_problems
from core.settings import Settings
from core.train import checkpoint
from core.train.memory import Memory, build, restore, settings_that_build, take_weights
from core.train.record import Recorder
from core.train.refusals import NothingToResume, WeightsDamaged
from core.train.soundness import flaws, unsound
from db.workspace import Workspace
from events.types import CheckpointQuarantined, DriftFound
from projections.fold import State
from projections.run import Run
from projections.standing import Position


@dataclass(frozen=True, slots=True)
class Place:
    """Where a try at a run stands: steps done of the run, and for ever."""

    run: str
    attempt: int
    step: int
    global_step: int


def clear(workspace: Workspace, recorder: Recorder, state: State, folder: Path) -> None:
    """Nothing lies under the name of the resume point to come."""
    path, aside = workspace.relative(folder), checkpoint.move_aside(folder, workspace.quarantine)
    if aside is not None and path not in state.storage.checkpoints:
        moved = workspace.relative(aside)
        recorder.append(
            DriftFound(
                kind="checkpoint_unknown",
                path=path,
                detail=f"a folder that the log does not know stood here; it was moved to {moved}",
                remedy=f"delete {moved} when nobody misses it",
            )
        )


def name(workspace: Workspace, state: State, place: Place) -> str:
    """checkpoint-120, or checkpoint-120.2 and so on where another branch of history has that name."""
    plain = f"checkpoint-{place.global_step}"
    for free in chain((plain,), (f"{plain}.{n}" for n in count(2))):
        known = state.storage.checkpoints.get(workspace.relative(workspace.current_model / free))
        if known is None or (known.state != "retired" and known.run == place.run):
            return free  # its own, of an earlier try: these steps were done again
        if known.state == "quarantined":
            return free  # nobody needs it: it is moved aside
    raise AssertionError("unreachable")


def load(
    workspace: Workspace,
    recorder: Recorder,
    memory: Memory | None,
    state: State,
    run: Run,
    base: Path,
    settings: Settings,
) -> tuple[Memory, Position]:
    """Memory as the newest intact position of the run has it; what is damaged is quarantined on the way.

    Reads nothing when memory equals it already. Raises NothingToResume, WeightsDamaged.
    """
    if memory is not None and memory.built_for != settings_that_build(settings):
        memory = None
    for position in positions(state, run):
        if memory is not None and memory.holds == position.source:
            return memory, position
        point = position.checkpoint
        if point is not None:
            problems = folder_problems(workspace.root / point.path, point.manifest_sha256)
            if problems:
                recorder.append(CheckpointQuarantined(path=point.path, problems=tuple(problems)))
                continue
        if position.weights is not None:
            _verify(workspace, state, run, position.weights)
        if memory is None or point is None:
            memory = build(base, settings)
            memory.flaws = frozenset(flaws(memory))
        if point is not None:
            restore(memory, workspace.root, point.path)
            if (name := unsound(memory)) is not None:  # saved so: its bytes are as they were
                why = f"{name} is not finite"
                recorder.append(CheckpointQuarantined(path=point.path, problems=(why,)))
                continue
        elif position.weights is not None:
            take_weights(memory, workspace.root, position.weights)
        return memory, position
    raise NothingToResume(
        f"{run.id}: no resume point it may go on from is intact; put {run.checkpoint} back from a backup, "
        "or skip the run"
    )


def _verify(workspace: Workspace, state: State, run: Run, path: str) -> None:
    """The version's weights are those that were published. Raises WeightsDamaged."""
    (version,) = [v for v in state.versions.versions.values() if v.path == path]
    if problems := folder_problems(workspace.root / path, version.manifest_sha256):
        raise WeightsDamaged(
            f"{run.id}: {version.id}, whose weights it begins with, is damaged ({problems[0]}); put {path} "
            "back from a backup, or `evertrain stop`, restore another version and `evertrain resume`"
        )
