"""Where the model stands: what the next run begins with, and what speaks against going back to a version.

Pure questions about a whole state, asked by decisions and by pages alike.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from projections.fold import State
from projections.storage import Checkpoint
from projections.versions import Version


@dataclass(frozen=True, slots=True)
class Position:
    """A state of the model and the place in the run that belongs to it.

    No checkpoint: the weights of a version with fresh moments, or else the base model.
    """

    checkpoint: Checkpoint | None
    step: int  # of the run
    global_step: int
    weights: str | None = None  # path of that version

    @property
    def path(self) -> str | None:
        return self.checkpoint.path if self.checkpoint is not None else None

    @property
    def source(self) -> str | None:
        """The folder that the weights come from; None: the base model."""
        return self.path or self.weights


def next_start(state: State) -> Position:
    """Where a run begins that is decided now: where the model stands.

    The newest resume point since the last restore (ever, without one); else that of the restored version,
    while nothing was published on it; else the current version's weights with fresh moments; else the base.
    """
    versions, restored = state.versions, state.versions.restored
    since = restored.seq if restored is not None else 0
    newest = next((c for c in state.storage.usable if c.saved > since), None)
    if newest is not None:
        return Position(newest, 0, newest.global_step)
    if restored is not None and restored.version == versions.current:
        kept = next((c for c in state.storage.usable if c.path == restored.checkpoint), None)
        if kept is not None:
            return Position(kept, 0, restored.global_step)
    if versions.current is not None:
        current = versions.versions[versions.current]
        return Position(None, 0, current.global_step, current.path)
    return Position(None, 0, state.run.global_step)


def moments_of(state: State, version: str) -> list[Checkpoint]:
    """The resume points that hold exactly this version's weights, with their moments; newest first."""
    wanted = state.versions.versions[version]
    return [
        c
        for c in state.storage.usable
        if (c.weights_sha256, c.global_step) == (wanted.weights_sha256, wanted.global_step)
    ]


def stands_at(state: State, version: Version) -> bool:
    """Is the model this very version? A skipped or failed run moves it on without making a new one."""
    at = next_start(state)
    if at.checkpoint is None:
        return at.weights == version.path
    held = (at.checkpoint.weights_sha256, at.global_step)
    return held == (version.weights_sha256, version.global_step)


def obstacles(state: State, version: Version) -> Iterator[str]:
    """Why this version cannot be restored now, as far as the log can tell; each with its remedy."""
    if version.state != "kept":
        yield f"{version.id} is {version.state}: only its facts are left"
    if version.kind != "run":
        yield (
            f"{version.id} is a release without moments, for other machines; restore the version it was made "
            f"of: {version.parent}"
        )
    if state.run.current is not None:
        yield (
            f"{state.run.current.file} is being trained: evertrain stop puts it back with its position, "
            "evertrain skip ends it; then restore"
        )
    if state.versions.due:
        yield f"the version of {state.versions.due[0].event.run} is being made: ask again in a moment"
    if version.id == state.versions.current and stands_at(state, version):
        yield f"{version.id} is what the model is already"
