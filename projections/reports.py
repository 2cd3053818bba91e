"""The reports: one run or one file with all that is known of it, as a document. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from events.types import (
    AttemptStarted,
    CheckpointSaved,
    ProcessCrashed,
    Recorded,
    TrainingCompleted,
    TrainingFailed,
    TrainingInterrupted,
    TrainingPaused,
    TrainingRolledBack,
    TrainingSkipped,
    TrainingStarted,
    TrainingStopped,
    ValidationMeasured,
)
from projections import checks, documents, lineage
from projections.crashes import crash
from projections.fold import State
from projections.run import Run
from projections.status import iso

#: What ends a trainer process's work on a run.
ENDS = (
    TrainingCompleted, TrainingFailed, TrainingInterrupted, TrainingPaused, TrainingRolledBack,
    TrainingSkipped, TrainingStopped, ProcessCrashed,
)  # fmt: skip
HISTORY = (TrainingStarted, AttemptStarted, *ENDS)


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What the log says of one run beside its steps, each in the log's order, the newest of each kind."""

    history: tuple[Recorded, ...] = ()
    validations: tuple[Recorded, ...] = ()
    checkpoints: tuple[Recorded, ...] = ()
    done: int = 0  # the furthest step of its newest attempt


def newest_runs(state: State) -> list[Run]:
    """Every run, the newest first."""
    return sorted(state.run.runs.values(), key=lambda run: run.first_started, reverse=True)


def run_row(run: Run, done: int, version: str | None) -> dict[str, Any]:
    """A run in a list. `done`: its steps done. `version`: the one it made."""
    last = run.validations[-1] if run.validations else None
    return {
        "id": run.id, "file": run.file, "sha256": run.sha256, "state": run.state, "reason": run.reason,
        "step": done, "steps_planned": run.steps_planned, "attempts": run.attempt,
        "global_step": run.global_step - run.step + done, "started_at": iso(run.started_at),
        "validation_loss": last.loss if last else None, "val_train_gap": last.gap if last else None,
        "fixed_validation_loss": run.fixed_loss, "version": version, "seq": run.first_started,
    }  # fmt: skip


def versions_made(state: State) -> dict[str, str]:
    """Run → the version it made, the newest; releases are made from resume points and do not count."""
    found = (state.versions.versions[name] for name in state.versions.order)
    return {version.run: version.id for version in found if version.kind == "run"}


def run_report(state: State, run: Run, facts: RunFacts) -> dict[str, Any]:
    """A run with its tries, validations, resume points, crashes and settings."""
    measured = validations(facts.validations)
    return run_row(run, facts.done, versions_made(state).get(run.id)) | {
        "epochs": run.epochs, "rows": run.rows, "holdout_rows": run.holdout_rows, "tokens": run.tokens,
        "trained_tokens": run.trained_tokens, "parent": run.parent, "checkpoint": run.checkpoint,
        "weights": run.weights, "fixed_set": run.fixed_set,
        "excluded_rows": run.excluded_rows, "plan_sha256": run.plan_sha256,
        "config_sha256": run.config_sha256, "config": run.config, "tries": attempts(facts.history),
        "validations": measured,
        "best": _best(run, measured), "checkpoints": [_checkpoint(state, one) for one in facts.checkpoints],
        "crashes": [
            documents.crash(crash(one)) for one in facts.history if isinstance(one.event, ProcessCrashed)
        ],
    }  # fmt: skip


def attempts(history: Sequence[Recorded]) -> list[dict[str, Any]]:
    """Each trainer process that worked on the run: where it began, and what ended it."""
    found: list[dict[str, Any]] = []
    for recorded in history:
        e = recorded.event
        if isinstance(e, AttemptStarted):
            found.append({
                "attempt": e.attempt, "seq": recorded.seq, "at": iso(recorded.at), "step": e.step,
                "global_step": e.global_step, "checkpoint": e.checkpoint, "device": e.device,
                "ended": None, "ended_seq": None, "ended_at": None, "last_step": None,
            })  # fmt: skip
        elif isinstance(e, ENDS) and found and found[-1]["ended"] is None:
            step = e.steps if isinstance(e, TrainingCompleted) else e.step
            found[-1] |= {
                "ended": type(e).__name__, "ended_seq": recorded.seq, "ended_at": iso(recorded.at),
                "last_step": step,
            }  # fmt: skip
    return found


def validations(measured: Sequence[Recorded]) -> list[dict[str, Any]]:
    """One row a step and attempt: hold-out and fixed set side by side, with the gap."""
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    for recorded in measured:
        e = recorded.event
        if not isinstance(e, ValidationMeasured):
            continue
        row = rows.setdefault((e.attempt, e.step), {
            "step": e.step, "global_step": e.global_step, "attempt": e.attempt, "at": iso(recorded.at),
            "seq": recorded.seq, "loss": None, "train_loss": None, "gap": None, "fixed_loss": None,
        })  # fmt: skip
        if e.kind == "fixed":
            row["fixed_loss"] = e.loss
        else:
            gap = None if e.train_loss is None else e.loss - e.train_loss
            row |= {"loss": e.loss, "train_loss": e.train_loss, "gap": gap}
    return list(rows.values())


def _best(run: Run, rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The best step as the fold knows it, and its measurement where that is among the rows."""
    if run.best is None:
        return None
    key = "fixed_loss" if run.best.kind == "fixed" else "loss"
    seqs = [row["seq"] for row in rows if (row["step"], row[key]) == (run.best.step, run.best.loss)]
    return {
        "step": run.best.step, "global_step": run.best.global_step, "loss": run.best.loss,
        "kind": run.best.kind, "seq": seqs[-1] if seqs else None,
    }  # fmt: skip


def _checkpoint(state: State, recorded: Recorded) -> dict[str, Any]:
    e = recorded.event
    assert isinstance(e, CheckpointSaved)
    known = state.storage.checkpoints.get(e.path)
    # a path may be used again: what is there now is this one only if it was saved by this fact
    there = known.state if known is not None and known.saved == recorded.seq else "deleted"
    return {
        "path": e.path, "step": e.step, "global_step": e.global_step, "reason": e.reason, "state": there,
        "size_bytes": e.size_bytes, "seconds": e.seconds, "at": iso(recorded.at), "seq": recorded.seq,
    }  # fmt: skip


def file_report(state: State, sha256: str) -> dict[str, Any] | None:
    """A file with what was found in it, where it lies, and what was made from it; None: never received."""
    file, entry = state.inbox.files.get(sha256), state.queue.entries.get(sha256)
    if file is None or entry is None:
        return None
    runs = [run for run in newest_runs(state) if run.sha256 == sha256]
    copies = [copy for copy in state.inbox.duplicates.values() if copy.sha256 == sha256]
    made = [state.versions.versions[name] for name in reversed(state.versions.order)]
    return {
        "file": entry.name, "original": file.original, "sha256": sha256, "size_bytes": file.size_bytes,
        "received_at": iso(file.received_at), "received_seq": file.received, "priority": entry.priority,
        "state": entry.state, "since": entry.since, "position": state.queue.positions().get(sha256),
        "attempts": entry.attempts, "reason": entry.reason, "path": entry.placed, "lost": entry.lost,
        "verdict": file.verdict, "format": file.format, "rows": file.rows,
        "accepted_rows": file.accepted_rows, "dropped_rows": file.dropped_rows, "tokens": file.tokens,
        "trainable_tokens": file.trainable_tokens, "counts": dict(sorted(file.counts.items())),
        "warnings": list(file.warnings), "check": checks.check(file),
        "duplicates": [
            {"file": copy.name, "original": copy.original, "at": iso(copy.received_at), "seq": copy.seq}
            for copy in sorted(copies, key=lambda copy: copy.seq)
        ],
        "runs": [{"id": run.id, "state": run.state, "started_at": iso(run.started_at)} for run in runs],
        "versions": [v.id for v in made if v.file_sha256 == sha256 and v.kind == "run"],
        "held_by": lineage.holding(state, sha256),
    }  # fmt: skip
