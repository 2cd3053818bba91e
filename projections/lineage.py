"""The lineage: the tree of versions, where each stands in a drawing of it, and what tells of a file. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from projections.fold import State
from projections.run import Run
from projections.versions import Version

HASH_BEGINS = 6  # characters of a hash that name a file
#: (from lane, to lane): None is the node itself, in the middle of its row.
Stroke = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class Node:
    """One version as one row of a drawing, the newest on top: its lane, and what runs through the row."""

    version: Version
    lane: int
    above: tuple[Stroke, ...]  # of the upper half: from a lane of the row above
    below: tuple[Stroke, ...]  # of the lower half: to a lane of the row below
    past: tuple[int, ...]  # lanes that only pass by
    lanes: int  # in use in this row


def newest(state: State) -> list[Version]:
    """Every version there ever was, newest first; those that were deleted are still parents of others."""
    return [state.versions.versions[name] for name in reversed(state.versions.order)]


def draw(versions: Sequence[Version]) -> list[Node]:
    """The rows of a drawing of these versions, given newest first: each hangs below what came from it."""
    lanes: list[str | None] = []  # which version each lane leads down to
    nodes = []
    for version in versions:
        leading = [lane for lane, wanted in enumerate(lanes) if wanted == version.id]
        lane = leading[0] if leading else _free(lanes)
        past = tuple(n for n, wanted in enumerate(lanes) if wanted is not None and wanted != version.id)
        lanes += [None] * (lane + 1 - len(lanes))
        for merged in leading:
            lanes[merged] = None
        lanes[lane] = version.parent
        width = max([lane, *leading, *past]) + 1
        nodes.append(Node(
            version, lane, tuple((other, None) for other in leading),
            ((None, lane),) if version.parent is not None else (), past, width,
        ))  # fmt: skip
        while lanes and lanes[-1] is None:
            lanes.pop()
    return nodes


def _free(lanes: list[str | None]) -> int:
    return lanes.index(None) if None in lanes else len(lanes)


def made_of(state: State, version: str) -> list[dict[str, Any]]:
    """What a version was trained on, the first file first: every run of its line, also without a version.

    The order of a run's rows is its batch plan, a function of the rows, the file, the settings and the seed:
    `plan_sha256` is its hash. `version`: what the run made; null: it was skipped or failed, its steps stayed.
    """
    found, stayed = list[dict[str, Any]](), _stayed(state)
    for name in reversed(state.versions.ancestors(version)):
        for run in _own(state, state.versions.versions[name], stayed):
            found.append(_part(run, name if run.id == state.versions.versions[name].run else None))
    return found


def holding(state: State, sha256: str) -> list[str]:
    """Every version that a file is part of, the newest first: made from it, or from one that was."""
    found, stayed = dict[str, None](), _stayed(state)
    for name in state.versions.order:
        one = state.versions.versions[name]
        if one.parent in found or any(run.sha256 == sha256 for run in _own(state, one, stayed)):
            found[name] = None
    return list(found)[::-1]


def _begin(run: Run) -> int:
    """The global step that a run began behind."""
    return run.global_step - run.step


def _stayed(state: State) -> dict[str | None, list[Run]]:
    """The runs that made no version though their steps may have stayed, in order, by the parent."""
    found: dict[str | None, list[Run]] = {}
    for run in sorted(state.run.runs.values(), key=lambda run: run.first_started):
        if run.state in ("skipped", "failed"):
            found.setdefault(run.parent, []).append(run)
    return found


def _own(state: State, one: Version, stayed: dict[str | None, list[Run]]) -> list[Run]:
    """The runs between a version's parent and itself: its own, after those it begins behind."""
    run = state.run.runs.get(one.run) if one.kind == "run" else None
    if run is None:
        return []
    before = [
        other for other in stayed.get(run.parent, ())
        if other.first_started < run.first_started and _begin(other) < _begin(run)
    ]  # fmt: skip
    return [*before, run]


def _part(run: Run, version: str | None) -> dict[str, Any]:
    return {
        "version": version, "run": run.id, "file": run.file, "sha256": run.sha256, "rows": run.rows,
        "holdout_rows": run.holdout_rows, "epochs": run.epochs, "begin_step": _begin(run),
        "steps_planned": run.steps_planned, "trained_tokens": run.trained_tokens, "parent": run.parent,
        "plan_sha256": run.plan_sha256, "config_sha256": run.config_sha256, "started": run.first_started,
    }  # fmt: skip


def streams(state: State, named: str) -> tuple[str, ...]:
    """The streams that tell of the files of this name, or whose hash begins so: checks, runs and versions."""
    files = {
        sha256
        for sha256, file in state.inbox.files.items()
        if named in (file.name, file.original) or (len(named) >= HASH_BEGINS and sha256.startswith(named))
    }
    runs = {run.id for run in state.run.runs.values() if run.sha256 in files}
    versions = {one.id for one in state.versions.versions.values() if one.run in runs}
    found = [("file", files), ("run", runs), ("version", versions)]
    return tuple(f"{kind}/{name}" for kind, names in found for name in sorted(names))
