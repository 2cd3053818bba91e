"""A long story in facts: files of every fate, crashes, requests, versions. Pure: no log, no disk."""

from typing import Any

from events.types import (
    AlertCleared,
    AlertRaised,
    AttemptStarted,
    BackupDamaged,
    BackupDeleted,
    BackupFailed,
    BackupRequested,
    BackupRetired,
    BackupStarted,
    BackupTaken,
    BackupVerified,
    CheckpointDeleted,
    CheckpointQuarantined,
    CheckpointRetired,
    CheckpointSaved,
    CleanRequested,
    ConfigChanged,
    ConfigRefused,
    ConsolidateRequested,
    DecayRequested,
    DiskCleaned,
    DriftCleared,
    DriftFound,
    Event,
    FileDuplicate,
    FileIgnored,
    FileLost,
    FilePlaced,
    FileQueued,
    FileReceived,
    FileRejected,
    FileRemoved,
    FileReopened,
    FileReprioritized,
    FileValidated,
    FixedSetChecked,
    JobFailed,
    MemoryMeasured,
    MemoryPlanned,
    MicroBatchHalved,
    MoveRequested,
    PauseRequested,
    PhaseEntered,
    PinRequested,
    ProcessCrashed,
    ProcessExited,
    ProcessHung,
    ProcessRestarted,
    ProcessStarted,
    Recorded,
    RemoveRequested,
    RequestRefused,
    ResourcesSampled,
    RestoreRequested,
    ResumeRequested,
    RetryRequested,
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
    VersionDeleted,
    VersionPinned,
    VersionPublished,
    VersionRestored,
    VersionRetired,
    VersionUnpinned,
    WorkspaceCreated,
)
from projections.fold import State, fold
from tests.facts import names, recorded, sha, specimen


class Tale:
    """Facts one after the other; each method is one thing that happens and gives its last seq."""

    def __init__(self) -> None:
        self.facts: list[Event] = []

    def tell(self, *facts: Event) -> int:
        self.facts += facts
        return len(self.facts)

    @property
    def recorded(self) -> list[Recorded]:
        return recorded(self.facts)

    @property
    def state(self) -> State:
        return fold(self.recorded)

    def begins(self, **config: Any) -> int:
        """A workspace with settings."""
        created = specimen(WorkspaceCreated, kind="user", base_model="models/tiny")
        assert isinstance(created, WorkspaceCreated)
        whole = {"epochs": 1, "max_attempts": 3, "lr_schedule": "constant"} | config
        return self.tell(created, specimen(ConfigChanged, config=whole, config_sha256=sha(str(whole))))

    def receives(self, name: str, priority: str = "normal") -> int:
        key = sha(name)
        received = specimen(
            FileReceived, sha256=key, name=name, original=name, priority=priority, by_hand=False
        )
        return self.tell(received, FilePlaced(sha256=key, path=f"queue/{priority}/{name}"))

    def queues(self, name: str, priority: str = "normal") -> int:
        """Received, checked and waiting."""
        self.receives(name, priority)
        validated = specimen(FileValidated, sha256=sha(name), store=f"store of {name}")
        return self.tell(validated, FileQueued(sha256=sha(name), priority=priority))

    def starts(
        self, name: str, run: str, *, at: int = 0, step: int = 0, checkpoint: str | None = None, **more: Any
    ) -> int:
        chosen: dict[str, Any] = {
            "run": run, "sha256": sha(name), "file": name, "step": step, "steps_planned": 10, "parent": None,
            "global_step": at, "checkpoint": checkpoint, "weights": None,
            "config": {"max_attempts": 3, "epochs": 1}, "decays": False, "request": None,
        }  # fmt: skip
        return self.tell(
            specimen(TrainingStarted, **(chosen | more)),
            FilePlaced(sha256=sha(name), path=f"queue/processing/{name}"),
        )

    def attempts(self, run: str) -> int:
        """A trainer process loads the run and begins to step."""
        return self.tell(
            ProcessStarted(role="trainer", pid=7),
            specimen(AttemptStarted, run=run),
            PhaseEntered(role="trainer", pid=7, phase="step", run=run),
        )

    def steps(self, run: str, first: int, n: int, at: int = 0) -> int:
        return self.tell(
            StepsCompleted(run=run, attempt=1, first_step=first, first_global_step=at + first, n=n,
                           columns={"loss": [1.0] * n}),
            specimen(ResourcesSampled),
        )  # fmt: skip

    def saves(self, run: str, step: int, at: int = 0) -> str:
        """A resume point; gives its path."""
        path = f"models/current_model/checkpoint-{at + step}"
        self.tell(specimen(CheckpointSaved, run=run, step=step, global_step=at + step, path=path))
        return path

    def crashes(self, run: str, step: int = 0) -> int:
        return self.tell(
            ProcessCrashed(role="trainer", pid=7, exit_code=None, signal="SIGKILL", error="killed by SIGKILL",
                           run=run, step=step),
            ProcessRestarted(role="trainer", pid=8, crashes=1, after_seconds=0.5),
        )  # fmt: skip

    def ends(self, kind: type[Event], name: str, run: str, step: int, at: int = 0, **more: Any) -> int:
        """One of the ends of a run or of a stretch of it."""
        known = names(kind)
        chosen: dict[str, Any] = {"run": run, "sha256": sha(name), "step": step, "global_step": at + step}
        chosen |= {"checkpoint": f"models/current_model/checkpoint-{at + step}"} | more
        return self.tell(specimen(kind, **{key: v for key, v in chosen.items() if key in known}))

    def publishes(self, version: str, name: str, run: str, parent: str | None = None) -> int:
        self.tell(FilePlaced(sha256=sha(name), path=f"queue/recently_completed/{name}"))
        return self.tell(specimen(VersionPublished, version=version, run=run, file=name, sha256=sha(name),
                                  parent=parent, path=f"models/versions/{version}", kind="run",
                                  request=None))  # fmt: skip


def rich() -> Tale:
    """Something of everything, in an order that could have happened."""
    tale = Tale()
    tale.begins()
    for role in ("watchdog", "daemon", "monitor"):
        tale.tell(ProcessStarted(role=role, pid=len(role)))
    tale.tell(specimen(FileIgnored), ConfigRefused(problems=("epochs: 0 is outside",)))
    tale.tell(AlertRaised(severity="serious", type="config", detail="refused"), AlertCleared(type="config"))
    config = {"epochs": 2, "max_attempts": 3, "lr_schedule": "wsd", "fixed_validation": "fixed.jsonl"}
    tale.tell(specimen(ConfigChanged, config=config), specimen(FixedSetChecked, path="fixed.jsonl"))
    for name, priority in (("a", "normal"), ("b", "low"), ("c", "high"), ("d", "normal"), ("e", "low")):
        tale.queues(name, priority)
    tale.receives("bad")
    tale.tell(specimen(FileRejected, sha256=sha("bad")))
    copy = tale.tell(specimen(FileDuplicate, sha256=sha("a"), name="a-2", same_as="a"))
    tale.tell(FilePlaced(sha256=sha("a"), path="queue/failed/a-2", duplicate=copy))
    asked = tale.tell(MoveRequested(sha256=sha("b"), priority="normal"))
    tale.tell(FileReprioritized(sha256=sha("b"), priority="normal", request=asked))
    asked = tale.tell(RemoveRequested(sha256=sha("e")))
    tale.tell(FileRemoved(sha256=sha("e"), reason="removed by request", request=asked))
    tale.tell(FileLost(sha256=sha("e"), path="queue/failed/e.jsonl"))
    tale.tell(FilePlaced(sha256=sha("e"), path="queue/failed/e.jsonl"))
    asked = tale.tell(RetryRequested(sha256=sha("e")))
    tale.tell(FileReopened(sha256=sha("e"), priority="low", request=asked))
    tale.starts("c", "r1")
    tale.tell(specimen(MemoryPlanned, run="r1"))
    tale.attempts("r1")
    tale.tell(specimen(ValidationMeasured, run="r1", kind="holdout", step=0))
    tale.tell(specimen(ValidationMeasured, run="r1", kind="fixed", step=0))
    tale.steps("r1", 1, 4)
    tale.saves("r1", 4)
    tale.crashes("r1", 4)
    tale.attempts("r1")
    asked = tale.tell(PauseRequested())
    tale.ends(TrainingPaused, "c", "r1", 5, request=asked)
    tale.tell(ProcessExited(role="trainer", pid=8, exit_code=0))
    asked = tale.tell(ResumeRequested())
    tale.tell(ServiceResumed(request=asked))
    tale.ends(TrainingInterrupted, "c", "r1", 6, signal="SIGTERM")
    tale.attempts("r1")
    last = tale.saves("r1", 10)
    tale.ends(TrainingCompleted, "c", "r1", 10, checkpoint=last)
    tale.tell(specimen(MemoryMeasured, run="r1"))
    tale.publishes("v0001", "c", "r1")
    tale.tell(CheckpointRetired(path="models/current_model/checkpoint-4", reason="beyond checkpoints_keep"))
    tale.tell(CheckpointDeleted(path="models/current_model/checkpoint-4"))
    tale.starts("a", "r2", at=10, checkpoint=last, parent="v0001")
    tale.attempts("r2")
    asked = tale.tell(StopRequested())
    tale.ends(TrainingStopped, "a", "r2", 3, at=10, request=asked)
    tale.tell(specimen(DriftFound), JobFailed(job="poll", error="OSError", where="poll.py:1"))
    asked = tale.tell(ResumeRequested())
    again = tale.tell(ResumeRequested())
    tale.tell(ServiceResumed(request=asked), RequestRefused(request=again, reason="not paused"))
    tale.starts("a", "r2", at=13, step=3, checkpoint=last)
    tale.attempts("r2")
    asked = tale.tell(SkipRequested(run="r2"))
    tale.ends(TrainingSkipped, "a", "r2", 5, at=10, request=asked)
    tale.saves("r2", 8, at=10)
    tale.tell(CheckpointQuarantined(path="models/current_model/checkpoint-18", problems=("bytes",)))
    asked = tale.tell(DecayRequested())
    tale.starts("d", "r3", at=15, checkpoint=last, decays=True, request=asked)
    tale.tell(specimen(MicroBatchHalved, run="r3"))
    tale.tell(specimen(TrainingRolledBack, run="r3", to_step=0, to_global_step=15, checkpoint=last))
    for _ in range(4):
        tale.crashes("r3")
    tale.ends(TrainingFailed, "d", "r3", 0, at=15, reason="it always dies", checkpoint=last)
    _keeps(tale, last)
    asked = tale.tell(StopRequested())
    tale.tell(ServiceStopped(request=asked))
    return tale


def _keeps(tale: Tale, last: str) -> None:
    """Versions pinned, restored, retired; backups of every fate; the disk cleaned; a drift; a hang."""
    asked = tale.tell(PinRequested(version="v0001"))
    tale.tell(VersionPinned(version="v0001", request=asked))
    asked = tale.tell(RestoreRequested(version="v0001"))
    tale.tell(specimen(VersionRestored, version="v0001", global_step=10, checkpoint=last, request=asked))
    asked = tale.tell(UnpinRequested(version="v0001"))
    tale.tell(VersionUnpinned(version="v0001", request=asked))
    asked = tale.tell(ConsolidateRequested(average=2))
    tale.tell(specimen(VersionPublished, version="v0002", run="r1", kind="release", request=asked))
    tale.tell(VersionRetired(version="v0002", reason="beyond versions_keep"), VersionDeleted(version="v0002"))
    asked = tale.tell(BackupRequested())
    for backup in ("b0001", "b0002", "b0003"):
        tale.tell(BackupStarted(backup=backup, target="backups"))
    tale.tell(specimen(BackupTaken, backup="b0001"), BackupVerified(backup="b0001", seconds=1, request=asked))
    tale.tell(specimen(BackupTaken, backup="b0002"), BackupFailed(backup="b0002", reason="a hash differs"))
    tale.tell(BackupDamaged(backup="b0001", problems=("bytes",)))
    tale.tell(BackupRetired(backup="b0002", reason="it failed"))
    tale.tell(BackupDeleted(backup="b0002", freed_bytes=7))
    asked = tale.tell(CleanRequested())
    tale.tell(DiskCleaned(freed_bytes=5, kinds={"tokens": 5}, reason="asked for", request=asked))
    drift = specimen(DriftFound)
    assert isinstance(drift, DriftFound)
    tale.tell(drift, DriftCleared(kind=drift.kind, path=drift.path), specimen(DriftFound, path="another"))
    tale.tell(specimen(ProcessHung, role="trainer", phase="step"))
