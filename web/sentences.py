"""The lines: a fact in a list, in the words of `projections.sentences`, with its tone. Pure."""

from dataclasses import dataclass

from events.types import (
    AlertRaised,
    BackupDamaged,
    BackupFailed,
    BackupVerified,
    CheckpointQuarantined,
    DriftFound,
    Event,
    FileRejected,
    JobFailed,
    ProcessCrashed,
    ProcessHung,
    Recorded,
    TrainingCompleted,
    TrainingFailed,
    TrainingRolledBack,
    VersionPublished,
    VersionRestored,
)
from projections.control import REQUESTS
from projections.fold import State
from projections.sentences import say

BAD = (
    TrainingFailed, ProcessCrashed, ProcessHung, JobFailed, FileRejected, CheckpointQuarantined, DriftFound,
    BackupFailed, BackupDamaged, TrainingRolledBack,
)  # fmt: skip
GOOD = (TrainingCompleted, VersionPublished, VersionRestored, BackupVerified)


@dataclass(frozen=True, slots=True)
class Line:
    """One fact as a list shows it; `tone` is bad, good, asked or plain."""

    seq: int
    at: int
    type: str
    actor: str
    tone: str
    text: str


def line(recorded: Recorded, state: State) -> Line:
    """A fact in a list."""
    event = recorded.event
    return Line(
        recorded.seq, recorded.at, type(event).__name__, recorded.actor, tone(event), say(event, state)
    )


def tone(event: Event) -> str:
    """Is this good, bad, a request, or neither?"""
    if isinstance(event, AlertRaised):
        return "plain" if event.severity == "info" else "bad"
    if isinstance(event, BAD):
        return "bad"
    return "good" if isinstance(event, GOOD) else "asked" if isinstance(event, REQUESTS) else "plain"
