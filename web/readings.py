"""The readings: what a page shows beyond the folds, each by a few short seeks however long the log is."""

from dataclasses import dataclass
from typing import Any

from events.log import Log
from events.types import (
    AlertCleared,
    AlertRaised,
    BackupDamaged,
    BackupFailed,
    BackupRequested,
    BackupVerified,
    CheckpointQuarantined,
    CheckpointSaved,
    CleanRequested,
    ConfigChanged,
    ConfigRefused,
    ConsolidateRequested,
    DiskCleaned,
    DriftCleared,
    DriftFound,
    Event,
    FileDuplicate,
    FileQueued,
    FileRejected,
    FileRemoved,
    FileReprioritized,
    JobFailed,
    MicroBatchHalved,
    MoveRequested,
    PauseRequested,
    PinRequested,
    ProcessCrashed,
    ProcessHung,
    Recorded,
    RemoveRequested,
    RequestRefused,
    ResourcesSampled,
    RestoreRequested,
    ResumeRequested,
    RetryRequested,
    ServicePaused,
    ServiceResumed,
    ServiceStopped,
    SkipRequested,
    StepsCompleted,
    StopRequested,
    TrainingCompleted,
    TrainingFailed,
    TrainingInterrupted,
    TrainingPaused,
    TrainingRolledBack,
    TrainingSkipped,
    TrainingStarted,
    TrainingStopped,
    UnpinRequested,
    ValidationMeasured,
    VersionPublished,
    VersionRestored,
    WorkspaceCreated,
)
from projections.control import ANSWERS
from projections.disk import DAY_SAMPLES
from projections.reports import HISTORY, RunFacts
from projections.run import Run

ASKED_SHOWN = 6  # of each kind of request
ANSWERS_READ = 60  # of each kind of answer: requests are answered soon after they were made
OF_RUN = 300  # validations and resume points of a run, the newest
HANGS_SHOWN = 20
PLACES = 240  # of the chart of free space

#: What a person wants to hear of without asking.
NOTABLE: tuple[type[Event], ...] = (
    AlertCleared, AlertRaised, BackupDamaged, BackupFailed, BackupVerified, CheckpointQuarantined,
    CheckpointSaved, ConfigChanged, ConfigRefused, DiskCleaned, DriftCleared, DriftFound, FileDuplicate,
    FileQueued, FileRejected, FileRemoved, FileReprioritized, JobFailed, MicroBatchHalved, PauseRequested,
    ProcessCrashed, ProcessHung, RequestRefused, ResumeRequested, ServicePaused, ServiceResumed,
    ServiceStopped, SkipRequested, StopRequested, TrainingCompleted, TrainingFailed, TrainingInterrupted,
    TrainingPaused, TrainingRolledBack, TrainingSkipped, TrainingStarted, TrainingStopped, VersionPublished,
    VersionRestored, WorkspaceCreated,
)  # fmt: skip
NOTABLE_SHOWN = 8
#: Which requests a page shows.
ABOUT_VERSIONS = (RestoreRequested, PinRequested, UnpinRequested, ConsolidateRequested)
ABOUT_BACKUPS = (BackupRequested,)
ABOUT_DISK = (CleanRequested,)
ABOUT_FILES = (MoveRequested, RemoveRequested, RetryRequested)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request and its answer; none: it still waits, or the answer did not say to what."""

    request: Recorded
    answer: Recorded | None


def notable(log: Log, to: int | None = None) -> tuple[Recorded, ...]:
    """The newest facts that a person wants to hear of, up to a position if given, newest first."""
    # one short seek a type: never a walk over the steps between them
    found = [r for cls in NOTABLE for r in log.last(NOTABLE_SHOWN, cls, to=to)]
    found.sort(key=lambda r: r.seq, reverse=True)
    return tuple(found[:NOTABLE_SHOWN])


def asked(log: Log, to: int | None = None) -> tuple[Asked, ...]:
    """The newest requests about versions, backups, disk and files, newest first; `to`: as of a position."""
    answers: dict[int, Recorded] = {}
    for cls in ANSWERS:
        for recorded in log.last(ANSWERS_READ, cls, to=to):
            request: int | None = getattr(recorded.event, "request", None)
            if request is not None:
                answers[request] = recorded
    kinds = (*ABOUT_VERSIONS, *ABOUT_BACKUPS, *ABOUT_DISK, *ABOUT_FILES)
    found = [recorded for cls in kinds for recorded in log.last(ASKED_SHOWN, cls, to=to)]
    found.sort(key=lambda recorded: recorded.seq, reverse=True)
    return tuple(Asked(recorded, answers.get(recorded.seq)) for recorded in found)


def steps_done(log: Log, run: Run, to: int | None = None) -> int:
    """The furthest step of a run's newest attempt."""
    newest = log.newest(StepsCompleted, stream=f"run/{run.id}", to=to)
    if newest is None or not isinstance(newest.event, StepsCompleted):
        return run.step
    return newest.event.first_step + newest.event.n - 1


def run_facts(log: Log, run: Run, to: int | None = None) -> RunFacts:
    """What the log says of one run, beside its steps."""
    end = run.ended if run.ended is not None else to

    def of_run(*types: type[Event]) -> tuple[Recorded, ...]:
        # by type, for these are few; inside the run's stream the seek would walk over all its steps
        found = [r for cls in types for r in log.last(OF_RUN, cls, to=end)]
        return tuple(sorted((r for r in found if _run(r.event) == run.id), key=lambda r: r.seq))

    return RunFacts(of_run(*HISTORY), of_run(ValidationMeasured), of_run(CheckpointSaved))


def _run(event: Event) -> Any:
    return getattr(event, "run", None)


def hangs(log: Log, to: int | None = None) -> list[Recorded]:
    """The newest hangs, oldest first."""
    return log.last(HANGS_SHOWN, ProcessHung, to=to)


def space_samples(log: Log, to: int | None = None) -> tuple[Recorded, ...]:
    """Minutes of samples spread evenly over the whole log, oldest first."""
    head = log.head() if to is None else to
    found: dict[int, Recorded] = {}
    for n in range(PLACES + 1):
        newest = log.newest(ResourcesSampled, to=head - (head * n) // (PLACES + 1))
        if newest is None:
            break
        found[newest.seq] = newest
    return tuple(found[seq] for seq in sorted(found))


def day_samples(log: Log, to: int | None = None) -> tuple[Recorded, ...]:
    """The newest day of samples, oldest first: how fast the disk fills is read from these."""
    return tuple(log.last(DAY_SAMPLES, ResourcesSampled, to=to))
