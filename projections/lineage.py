"""The lineage: the tree of versions, where each stands in a drawing of it, and what tells of a file. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from projections.fold import State
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
