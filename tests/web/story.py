"""Histories to look at: real facts in a real log, told in a few words."""

import hashlib
import math
from pathlib import Path

from core.logbook import keep_curves
from db.workspace import Workspace
from events.log import Log
from events.types import (
    AttemptStarted,
    CheckpointSaved,
    Event,
    FilePlaced,
    FileQueued,
    FileReceived,
    FileValidated,
    StepsCompleted,
    TrainingCompleted,
    TrainingStarted,
    ValidationMeasured,
    VersionPublished,
    WorkspaceCreated,
)


def sha(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


class Story:
    """A workspace in the making; every method appends the facts of one thing that happens."""

    def __init__(self, root: Path) -> None:
        self.workspace = Workspace(root / "workspace")
        self.workspace.lay_out()
        self.log = Log(self.workspace.log, "daemon", inline=keep_curves, create=True)
        self.tell(WorkspaceCreated(
            kind="user", base_model="models/tiny", base_sha256=sha("base"), model_name="tiny-qwen3",
            architecture="Qwen3ForCausalLM", parameters=1_000_000, vocabulary_size=512, software="0.1.0",
        ))  # fmt: skip

    def tell(self, *facts: Event, actor: str | None = None) -> int:
        return self.log.append(*facts, actor=actor)[-1]

    def waits(self, name: str, priority: str = "normal", rows: int = 100) -> str:
        """A file that was received, checked and queued."""
        key = sha(name)
        self.tell(
            FileReceived(sha256=key, name=name, original=name, priority=priority, size_bytes=1000,
                         source_inode=1, source_mtime_ns=1),
            FilePlaced(sha256=key, path=f"queue/{priority}/{name}"),
            FileValidated(sha256=key, verdict="accepted", format="text", rows=rows, accepted_rows=rows,
                          dropped_rows=0, tokens=rows * 50, trainable_tokens=rows * 40, counts={},
                          warnings=(), store=f"store-{key[:8]}", seconds=0.1),
            FileQueued(sha256=key, priority=priority),
        )  # fmt: skip
        return key

    def starts(
        self, name: str, run: str = "r1", planned: int = 100, at: int = 0, parent: str | None = None,
        fixed_set: str | None = None,
    ) -> None:  # fmt: skip
        """A run of a waiting file begins; `at`: global steps done before."""
        self.tell(
            TrainingStarted(run=run, sha256=sha(name), file=name, step=0, steps_planned=planned,
                            global_step=at, epochs=1, rows=95, holdout_rows=5, trained_tokens=4000,
                            tokens=5000, plan_sha256=sha("plan"), store="store", checkpoint=None,
                            parent=parent, fixed_set=fixed_set, config={}, config_sha256=sha("config")),
            AttemptStarted(run=run, attempt=1, step=0, global_step=at, checkpoint=None, device="cpu",
                           dtypes={"float32": 1_000_000}, attention="sdpa", software={}, load_seconds=0.5),
            actor="trainer",
        )  # fmt: skip

    def steps(
        self, first: int, n: int, run: str = "r1", at: int = 0, loss: float | None = None, attempt: int = 1
    ) -> int:
        """`n` steps of a run from its step `first`; the loss falls along a curve, or is `loss`."""
        numbers = [at + first + k for k in range(n)]
        losses = [loss if loss is not None else 2 + 4 * math.exp(-k / 60) for k in numbers]
        columns: dict[str, list[float | int | None]] = {
            "loss": list(losses), "grad_norm": [1 / (1 + k / 50) for k in numbers],
            "learning_rate": [2e-4] * n, "tokens": [1024] * n, "trained_tokens": [800] * n,
            "seconds": [0.5] * n,
        }  # fmt: skip
        fact = StepsCompleted(
            run=run, attempt=attempt, first_step=first, first_global_step=at + first, n=n, columns=columns
        )
        return self.tell(fact, actor="trainer")

    def validates(self, step: int, loss: float, run: str = "r1", at: int = 0) -> int:
        return self.tell(
            ValidationMeasured(run=run, attempt=1, step=step, global_step=at + step, kind="holdout",
                               loss=loss, trained_tokens=100, rows=5, train_loss=loss - 0.1, seconds=0.1),
            actor="trainer",
        )  # fmt: skip

    def saves(self, step: int, run: str = "r1", at: int = 0, weights: str = sha("w")) -> int:
        return self.tell(
            CheckpointSaved(run=run, attempt=1, step=step, global_step=at + step,
                            path=f"models/current_model/checkpoint-{at + step}", reason="save_steps",
                            manifest_sha256=sha("m"), weights_sha256=weights, moments_sha256=sha("o"),
                            rng_sha256=sha("r"), size_bytes=12_000_000, seconds=0.2),
            actor="trainer",
        )  # fmt: skip

    def completes(
        self, name: str, version: str | None = None, run: str = "r1", steps: int = 100, at: int = 0,
        parent: str | None = None,
    ) -> int:  # fmt: skip
        """The run ends well; with `version` its snapshot is published."""
        end = at + steps
        seq = self.tell(
            TrainingCompleted(run=run, sha256=sha(name), steps=steps, global_step=end,
                              checkpoint=f"models/current_model/checkpoint-{end}", loss=2.5,
                              validation_loss=2.75),
            actor="trainer",
        )  # fmt: skip
        self.tell(FilePlaced(sha256=sha(name), path=f"queue/recently_completed/{name}"))
        if version is None:
            return seq
        return self.tell(VersionPublished(
            version=version, parent=parent, run=run, file=name, sha256=sha(name), global_step=end, loss=2.5,
            validation_loss=2.75, path=f"models/versions/{version}", manifest_sha256=sha("m" + version),
            weights_sha256=sha("w" + version), size_bytes=4_000_000, log_seq=seq, log_hash=sha("head"),
        ))  # fmt: skip

    def trained(
        self, name: str, version: str | None, run: str, steps: int = 100, at: int = 0,
        parent: str | None = None,
    ) -> None:  # fmt: skip
        """A whole run."""
        self.waits(name)
        self.starts(name, run, steps, at, parent)
        self.validates(0, 6.2, run, at)
        for first in range(1, steps + 1, 5):
            self.steps(first, min(5, steps + 1 - first), run, at)
        self.saves(steps, run, at, weights=sha(f"w{version}"))
        self.completes(name, version, run, steps, at, parent)
