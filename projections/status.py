"""The status: one pure function of the folds, the newest steps, the heartbeats and the time."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from statistics import median
from typing import Any

from events.types import Recorded, StepsCompleted
from projections import curves
from projections.fold import State
from projections.run import Best, Run

#: A role that has not been heard of for this long is not counted as alive. Each beats every second when idle.
ALIVE_US = 10_000_000
ROLES = ("watchdog", "daemon", "trainer", "monitor")

Heartbeats = Mapping[str, Mapping[str, Any]]


def iso(at: int) -> str:
    """µs since the epoch as ISO 8601 with zone."""
    return datetime.fromtimestamp(at / 1_000_000, UTC).isoformat(timespec="milliseconds")


def document(
    state: State,
    steps: Sequence[Recorded],
    heartbeats: Heartbeats,
    sample: Mapping[str, Any],
    now: int,
    head: int = 0,
) -> dict[str, Any]:
    """The status document of CONTRACT.

    `steps`: the newest StepsCompleted facts, oldest first (≤ 64 are plenty).
    `heartbeats`: role → {pid, phase, at}. `sample`: {gpu, ram, disk} as last measured. `now`: µs.
    `head`: where the log ends, for it may end with a fact that no fold reads.
    """
    run = state.run.current
    latest = state.run.runs[state.run.latest] if state.run.latest else None
    newest = _newest(steps)
    status, waiting_for = _status(state, heartbeats, now)
    validation = latest.validations[-1] if latest and latest.validations else None
    begun = run is not None and newest is not None and newest["run"] == run.id
    done = newest["step"] if newest and begun else (run.step if run else 0)
    per_step = _seconds_per_step(steps)
    eta = per_step * (run.steps_planned - done) if run and per_step and status == "training" else None
    target = run.global_step - run.step + run.steps_planned if run else None
    return {
        "status": status,
        "seq": max(head, state.seq, steps[-1].seq if steps else 0),
        "timestamp": iso(now),
        "model_name": state.workspace.created.model_name if state.workspace.created else None,
        "current_version": state.versions.current,
        "current_step": newest["global_step"] if newest else state.run.global_step,
        "total_steps": target,
        "run": _run(run, done) if run else None,
        "current_file": run.file if run else None,
        "loss": newest["loss"] if newest else None,
        "validation_loss": validation.loss if validation else None,
        "val_train_gap": validation.gap if validation else None,
        "fixed_validation_loss": latest.fixed_loss if latest else None,
        "learning_rate": newest["learning_rate"] if newest else None,
        "grad_norm": newest["grad_norm"] if newest else None,
        "tokens_per_sec": newest["tokens_per_sec"] if newest else None,
        "eta_seconds": eta,
        "queue": {level: len(state.queue.level(level)) for level in ("high", "normal", "low")},
        "completed": state.queue.counts("completed"),
        "failed": state.queue.counts("failed", "rejected"),
        "gpu": list(sample.get("gpu", [])),
        "ram": sample.get("ram"),
        "disk": sample.get("disk"),
        "alerts": [
            {"severity": a.severity, "type": a.type, "detail": a.detail, "seq": a.seq}
            for a in sorted(state.health.alerts.values(), key=lambda a: a.seq)
        ],
        "processes": {role: _process(heartbeats.get(role), now) for role in ROLES},
        "waiting_for": waiting_for,
    }  # fmt: skip


def alive(heartbeat: Mapping[str, Any] | None, now: int) -> bool:
    """Has this role been heard of lately?"""
    return heartbeat is not None and heartbeat["phase"] != "gone" and now - heartbeat["at"] < ALIVE_US


def _process(heartbeat: Mapping[str, Any] | None, now: int) -> dict[str, Any] | None:
    if heartbeat is None or heartbeat["phase"] == "gone":
        return None
    age = max(0.0, (now - heartbeat["at"]) / 1_000_000)
    return {"pid": heartbeat["pid"], "phase": heartbeat["phase"], "age_seconds": round(age, 1)}


def _status(state: State, heartbeats: Heartbeats, now: int) -> tuple[str, str | None]:
    """One of the seven, and what is waited for."""
    if (alert := state.health.fatal) is not None:
        return "failed", alert.detail
    if state.control.mode in ("paused", "stopped"):
        return state.control.mode, f"`evertrain resume` ({state.control.mode} since #{state.control.since})"
    serving = alive(heartbeats.get("daemon"), now)
    busy = state.run.current is not None or state.queue.counts("validating", "waiting") > 0
    if busy and not serving:
        return "waiting", "no service is running on this workspace: start `evertrain serve`"
    if (waiting := state.health.waiting(training=state.run.current is not None)) is not None:
        return "waiting", waiting.detail
    if state.run.current is not None:
        trainer = state.health.processes.get("trainer")
        if trainer is not None and trainer.state == "crashed":
            return "waiting", f"the trainer starts again after crash {trainer.crashes}"
        return "training", None
    if state.queue.waiting:
        return "waiting", "the next run is about to start"
    if state.queue.counts("validating"):
        return "validating", None
    return "idle", None


def _run(run: Run, done: int) -> dict[str, Any]:
    per_epoch = max(1, -(-run.steps_planned // max(1, run.epochs)))
    return {
        "id": run.id,
        "file": run.file,
        "sha256": run.sha256,
        "step": done,
        "steps_planned": run.steps_planned,
        "epoch": min(run.epochs, done // per_epoch + 1),
        "attempt": run.attempt,
        "best": _best(run.best) if run.best else None,
    }


def _best(best: Best) -> dict[str, Any]:
    return {"step": best.step, "global_step": best.global_step, "loss": best.loss, "kind": best.kind}


def _newest(steps: Sequence[Recorded]) -> dict[str, Any] | None:
    """The newest step's numbers; a value that is not finite or not known is null, never 0."""
    for recorded in reversed(steps):
        event = recorded.event
        if isinstance(event, StepsCompleted):
            last = event.n - 1
            row = {metric: _finite(curves.values(event, metric)[last]) for metric in curves.METRICS}
            return row | {
                "run": event.run,
                "step": event.first_step + last,
                "global_step": event.first_global_step + last,
            }
    return None


def _finite(value: float | int | None) -> float | int | None:
    return value if value is not None and value - value == 0 else None


def _seconds_per_step(steps: Sequence[Recorded]) -> float | None:
    seconds = [
        value
        for recorded in steps[-64:]
        if isinstance(recorded.event, StepsCompleted)
        for value in recorded.event.columns.get("seconds", [])
        if value is not None
    ]
    return median(seconds) if seconds else None
