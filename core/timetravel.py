"""Time travel: everything as of a position of the log, and what changed between two, and by which fact."""

import re
from datetime import datetime
from typing import Any

from core.logbook import newest_steps, state_at
from events.log import Log
from events.types import StepsCompleted
from projections import status
from projections.fold import FOLDED, PROJECTIONS, State, apply, plain

#: What of the status document a step sets.
STEPS = ("current_step", "loss", "learning_rate", "grad_norm", "tokens_per_sec", "eta_seconds", "run")


class NoSuchMoment(Exception):
    """Neither a position of the log nor a time."""


def position(log: Log, given: str) -> int:
    """A seq, or an ISO 8601 time, as a position of the log. Raises NoSuchMoment."""
    head = log.head()
    if re.fullmatch(r"\d+", given):
        seq = int(given)
        if seq > head:
            raise NoSuchMoment(f"the log ends at #{head}; #{seq} has not happened yet")
        return seq
    try:
        moment = datetime.fromisoformat(given)
    except ValueError as error:
        raise NoSuchMoment(
            f"{given!r} is neither a position (a number) nor a time (2026-01-31T12:00)"
        ) from error
    return log.seq_at(int(moment.astimezone().timestamp() * 1_000_000))


def as_of(log: Log, seq: int) -> dict[str, Any]:
    """The replay document of CONTRACT: every projection after the fact `seq`."""
    state = state_at(log, seq)
    at = recorded.at if (recorded := log.get(seq)) is not None else state.at
    return {
        "seq": seq,
        "at": status.iso(at) if seq else None,
        "projections": projections(log, state, seq, at),
    }


def projections(log: Log, state: State, seq: int, at: int) -> dict[str, Any]:
    """Each fold as plain values; liveness is no fact, so the past has none."""
    shown = {name: plain(getattr(state, name)) for name in PROJECTIONS}
    document = status.document(state, newest_steps(log, to=seq), {}, {}, at)
    return shown | {"status": document | {"seq": seq}}


def difference(log: Log, before: int, after: int) -> dict[str, Any]:
    """What is not the same at two moments: each path with its values, and the fact that set it last."""
    low, high = sorted((before, after))
    first, last = as_of(log, low)["projections"], as_of(log, high)["projections"]
    set_by = _set_by(log, low, high)
    forward = before <= after
    changes = []
    for path, was, became in differences(first, last):
        changes.append({
            "path": path,
            "before": was if forward else became,
            "after": became if forward else was,
            "set_by": _setter(set_by, path),
        })  # fmt: skip
    return {"from": before, "to": after, "changes": changes}


def differences(first: Any, second: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Every leaf that differs between two plain values; a path is keys with dots between."""
    if first == second:
        return []
    if isinstance(first, dict) and isinstance(second, dict):
        found = []
        for key in sorted(first.keys() | second.keys()):
            inner = f"{path}.{key}" if path else key
            found += differences(first.get(key), second.get(key), inner)
        return found
    return [(path, first, second)]


def _set_by(log: Log, low: int, high: int) -> dict[str, int]:
    """path → seq of the last fact between the two that changed it."""
    found: dict[str, int] = {}
    state = state_at(log, low)
    for recorded in log.read(low, to=high, types=FOLDED):
        after = apply(state, recorded)
        for name in PROJECTIONS:
            was, became = getattr(state, name), getattr(after, name)
            if was is not became:
                for path, _, _ in differences(plain(was), plain(became), name):
                    found[path] = recorded.seq
        state = after
    steps = log.newest(StepsCompleted, to=high)
    if steps is not None and steps.seq > low:
        found |= {f"status.{key}": steps.seq for key in STEPS}
    return found


def _setter(set_by: dict[str, int], path: str) -> int | None:
    """The last fact that touched this path, anything inside it, or the whole it is part of.

    Status has no facts of its own: the newest step stands for its figures, else the newest fact.
    """
    if path.startswith("status."):
        return set_by.get(".".join(path.split(".")[:2])) or max(set_by.values(), default=None)
    touched = [
        seq
        for other, seq in set_by.items()
        if other == path or other.startswith(f"{path}.") or path.startswith(f"{other}.")
    ]
    return max(touched, default=None)
