"""A rich history to look at: a tree of versions, backups of every fate, crashes, a hang, drifts, settings."""

import json
from pathlib import Path
from typing import Any

from events.types import (
    AlertRaised,
    AttemptStarted,
    BackupDamaged,
    BackupFailed,
    BackupRequested,
    BackupStarted,
    BackupTaken,
    BackupVerified,
    CleanRequested,
    ConfigChanged,
    ConsolidateRequested,
    DiskCleaned,
    DriftFound,
    FilePlaced,
    FileReceived,
    FileRejected,
    PinRequested,
    ProcessCrashed,
    ProcessHung,
    ProcessRestarted,
    ProcessStarted,
    RequestRefused,
    ResourcesSampled,
    RestoreRequested,
    TrainingFailed,
    ValidationMeasured,
    VersionDeleted,
    VersionPinned,
    VersionPublished,
    VersionRestored,
    VersionRetired,
)
from tests.web.story import Story, sha

CONFIG: dict[str, Any] = {
    "learning_rate": 2e-4, "epochs": 1, "max_attempts": 3, "disk_floor_gb": 10, "disk_target_gb": 50,
    "backup": {"target": "backups", "every_hours": 24, "keep": {"daily": 7, "weekly": 4}},
}  # fmt: skip


class Shelves(Story):
    """A story that goes on with what is kept and what went wrong."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.tell(ConfigChanged(config=CONFIG, changes={}, config_sha256=sha("config")))
        for role in ("watchdog", "daemon", "monitor", "trainer"):
            self.tell(ProcessStarted(role=role, pid=100 + len(role)))

    def rejects(self, name: str) -> None:
        """A file that came and was not good enough."""
        key = sha(name)
        self.tell(
            FileReceived(sha256=key, name=name, original=name, priority="normal", size_bytes=1000,
                         source_inode=1, source_mtime_ns=1),
            FileRejected(sha256=key, format="text", rows=9, accepted_rows=1, dropped_rows=8,
                         counts={"not_json": 6, "too_long": 2}, reason="most rows are unusable"),
            FilePlaced(sha256=key, path=f"queue/failed/{name}"),
        )  # fmt: skip

    def asks(self, request: Any) -> int:
        return self.tell(request, actor="web")

    def pins(self, version: str) -> int:
        asked = self.asks(PinRequested(version=version))
        return self.tell(VersionPinned(version=version, request=asked))

    def restores(self, version: str, before: str, step: int, checkpoint: str | None = None) -> int:
        asked = self.asks(RestoreRequested(version=version))
        moments = "kept" if checkpoint else "fresh"
        return self.tell(VersionRestored(version=version, before=before, global_step=step,
                                         checkpoint=checkpoint, moments=moments, request=asked))  # fmt: skip

    def releases(self, version: str, parent: str, run: str, name: str, step: int) -> int:
        asked = self.asks(ConsolidateRequested(average=2))
        sources = tuple(f"models/current_model/checkpoint-{n}" for n in (step, step - 50))
        return self.tell(VersionPublished(
            version=version, parent=parent, run=run, file=name, sha256=sha(name), global_step=step, loss=None,
            validation_loss=None, path=f"models/versions/{version}", manifest_sha256=sha("m" + version),
            weights_sha256=sha("w" + version), size_bytes=2_000_000, log_seq=asked, log_hash=sha("head"),
            kind="release", sources=sources, request=asked,
        ))  # fmt: skip

    def backs_up(self, backup: str, fate: str, request: int | None = None, target: str = "backups") -> int:
        """`fate`: writing, taken, verified, failed or damaged."""
        seq = self.tell(BackupStarted(backup=backup, target=target, request=request))
        if fate in ("taken", "verified", "damaged"):
            seq = self.tell(BackupTaken(
                backup=backup, target=target, manifest_sha256=sha(backup), versions=("v0001", "v0002"),
                checkpoints=("models/current_model/checkpoint-200",), log_seq=seq, log_hash=sha("head"),
                objects=31, size_bytes=48_000_000, added_bytes=9_000_000, seconds=2.0,
            ))  # fmt: skip
        if fate in ("verified", "damaged"):
            seq = self.tell(BackupVerified(backup=backup, seconds=1.5, request=request))
        if fate == "damaged":
            seq = self.tell(BackupDamaged(backup=backup, problems=("objects/ab/abcd: its bytes changed",)))
        if fate == "failed":
            seq = self.tell(BackupFailed(backup=backup, reason="the target is not mounted", request=request))
        return seq

    def crashes(self, run: str, step: int) -> int:
        self.tell(ProcessHung(role="trainer", pid=107, phase="step", silent_seconds=1000.0,
                              limit_seconds=900.0, frames=("core/train/run.py:9 in run",)))  # fmt: skip
        seq = self.tell(
            ProcessCrashed(role="trainer", pid=107, exit_code=None, signal="SIGKILL", run=run, step=step,
                           error="no progress", category="timeout", phase="step",
                           frames=("core/train/run.py:9 in run",), resources={"ram_used_bytes": 3 << 30}),
            actor="watchdog",
        )  # fmt: skip
        self.tell(ProcessRestarted(role="trainer", pid=108, crashes=1, after_seconds=0.5))
        return seq

    def goes_on(self, run: str, attempt: int, step: int, at: int = 0) -> int:
        """Another trainer process takes the run up after its step `step`."""
        return self.tell(
            AttemptStarted(run=run, attempt=attempt, step=step, global_step=at + step,
                           checkpoint=f"models/current_model/checkpoint-{at + step}", device="cpu",
                           dtypes={"float32": 1_000_000}, attention="sdpa",
                           software={"torch": "2.10", "transformers": "5.3"}, load_seconds=0.5),
            actor="trainer",
        )  # fmt: skip

    def measures_fixed(self, step: int, loss: float, run: str, at: int = 0, attempt: int = 1) -> int:
        return self.tell(
            ValidationMeasured(run=run, attempt=attempt, step=step, global_step=at + step, kind="fixed",
                               loss=loss, trained_tokens=100, rows=5, train_loss=None, seconds=0.1),
            actor="trainer",
        )  # fmt: skip

    def samples(self, minutes: int, free: int = 80 << 30) -> None:
        for n in range(minutes):
            falling = [free - (n << 26) - k for k in range(3)]
            self.tell(ResourcesSampled(every_seconds=5.0, columns={
                "disk_free_bytes": [float(v) for v in falling], "ram_used_bytes": [4e9] * 3,
            }))  # fmt: skip


def rich(root: Path, name: str = "a.jsonl") -> Shelves:
    """Something of everything; `name` is that of the first file."""
    story = Shelves(root)
    story.trained(name, "v0001", "r1", 100)
    story.measures_fixed(0, 6.0, "r1")
    story.trained("b.jsonl", "v0002", "r2", 40, 100, "v0001")
    story.trained("c.jsonl", "v0003", "r3", 60, 140, "v0002")
    story.pins("v0001")
    story.restores("v0001", "v0003", 100, "models/current_model/checkpoint-100")
    story.trained("d.jsonl", "v0004", "r4", 100, 100, "v0001")
    story.releases("v0005", "v0004", "r4", "d.jsonl", 200)
    story.tell(
        VersionRetired(version="v0002", reason="beyond versions_keep"), VersionDeleted(version="v0002")
    )
    for backup, fate in (("b0001", "damaged"), ("b0002", "failed"), ("b0003", "verified")):
        story.backs_up(backup, fate)
    story.backs_up("b0004", "verified", story.asks(BackupRequested()), "s3://somewhere/else")
    story.tell(DiskCleaned(freed_bytes=5 << 20, kinds={"tokens": 5 << 20}, reason="asked for",
                           request=story.asks(CleanRequested())))  # fmt: skip
    refused = story.asks(RestoreRequested(version="v0002"))
    story.tell(RequestRefused(request=refused, reason="v0002: its files are gone"))
    story.tell(DriftFound(kind="version_missing", path="models/versions/v0001", detail="it is not there",
                          remedy="restore it from a backup"))  # fmt: skip
    story.tell(AlertRaised(severity="warning", type="drift", detail="disk and log disagree in one place"))
    config = CONFIG | {"learning_rate": 1e-4}
    story.tell(ConfigChanged(config=config, changes={"learning_rate": [2e-4, 1e-4]},
                             config_sha256=sha("other")))  # fmt: skip
    story.samples(5)
    story.rejects("bad.jsonl")
    story.waits("e.jsonl")
    story.starts("e.jsonl", "r5", 80, 200)
    story.validates(0, 2.9, "r5", 200)
    story.steps(1, 30, "r5", 200)
    story.saves(20, "r5", 200)
    story.crashes("r5", 30)
    story.goes_on("r5", 2, 20, 200)
    story.steps(21, 20, "r5", 200, attempt=2)
    story.validates(40, 2.7, "r5", 200)
    story.measures_fixed(40, 2.8, "r5", 200)
    story.waits("f.jsonl", "high")
    story.log.beat("daemon", 106, "idle", sample=json.dumps({
        "gpu": [], "ram": {"used_bytes": 4 << 30, "total_bytes": 16 << 30},
        "disk": {"free_bytes": 79 << 30, "total_bytes": 200 << 30},
        "usage": {"kinds": {"log": 3 << 20, "versions": 8 << 20, "checkpoints": 30 << 20, "tokens": 5 << 20},
                  "reclaimable": {"tokens": 4 << 20}},
    }))  # fmt: skip
    story.log.beat("trainer", 108, "step")
    return story


def failed(story: Story, name: str, run: str, at: int = 0) -> None:
    """A run that was given up."""
    story.waits(name)
    story.starts(name, run, 50, at)
    story.tell(TrainingFailed(run=run, sha256=sha(name), step=0, global_step=at, checkpoint=None,
                              reason="it always dies at step 0", attempts=3))  # fmt: skip
