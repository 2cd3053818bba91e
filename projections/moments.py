"""The moments: everything as of a position of the log, what differs between two, and by which fact. Pure."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from immutables import Map

from events.types import Recorded, StepsCompleted
from projections import status
from projections.fold import PROJECTIONS, State, apply, plain

STEPS_READ = 32  # StepsCompleted facts that the status document asks for
#: What of the status document a step sets.
STEPS = ("current_step", "loss", "learning_rate", "grad_norm", "tokens_per_sec", "eta_seconds", "run")


class NoSuchMoment(Exception):
    """Neither a position of the log nor a time."""


class NotYet(NoSuchMoment):
    """A position behind the end of the log."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The log up to the fact `seq`."""

    seq: int
    at: int  # µs, of that fact; 0 before the first
    state: State
    steps: tuple[Recorded, ...]  # the newest StepsCompleted up to here, oldest first


def position(given: str, head: int, seq_at: Callable[[int], int]) -> int:
    """A seq, or an ISO 8601 time, as a position; `seq_at`: the newest seq at a time in µs.

    Raises NoSuchMoment.
    """
    if re.fullmatch(r"[0-9]{1,18}", given):
        seq = int(given)
        if seq > head:
            raise NotYet(f"the log ends at #{head}; #{seq} has not happened yet")
        return seq
    try:
        at = datetime.fromisoformat(given).astimezone().timestamp()
    except (ValueError, OverflowError) as error:
        raise NoSuchMoment(
            f"{given!r} is neither a position (a number) nor a time (2026-01-31T12:00)"
        ) from error
    return seq_at(int(at * 1_000_000))


def processes(state: State, at: int) -> dict[str, dict[str, Any]]:
    """Who ran, by the log alone, in the shape of heartbeats: those of the past are overwritten."""
    return {
        role: {"pid": one.pid, "phase": one.phase or "running", "at": at}
        for role, one in sorted(state.health.processes.items())
        if one.state in ("running", "hung")
    }


def status_document(moment: Moment) -> dict[str, Any]:
    """The status document as of then; memory, disk and GPU were not measured into any fold."""
    beats = processes(moment.state, moment.at)
    return status.document(moment.state, moment.steps, beats, {}, moment.at) | {"seq": moment.seq}


def document(moment: Moment) -> dict[str, Any]:
    """The replay document of CONTRACT: every projection after the fact `seq`."""
    return {
        "seq": moment.seq,
        "at": status.iso(moment.at) if moment.seq else None,
        "projections": projections(moment),
    }


def projections(moment: Moment) -> dict[str, Any]:
    """Each fold as plain values, and the status."""
    shown = {name: plain(getattr(moment.state, name)) for name in PROJECTIONS}
    return shown | {"status": status_document(moment)}


def difference(one: Moment, other: Moment, between: Iterable[Recorded]) -> dict[str, Any]:
    """What is not the same at two moments: each path with its values, and the fact that set it last.

    `between`: the folded facts behind the earlier moment up to the later one, in order.
    """
    forward = one.seq <= other.seq
    low, high = (one, other) if forward else (other, one)
    set_by = _set_by(low, high, between)
    inside, newest = _inside(set_by), max(set_by.values(), default=None)
    changes = []
    for path, was, became in differences(projections(low), projections(high)):
        changes.append({
            "path": path,
            "before": was if forward else became,
            "after": became if forward else was,
            "set_by": _setter(set_by, inside, newest, path),
        })  # fmt: skip
    return {"from": one.seq, "to": other.seq, "changes": changes}


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


def _set_by(low: Moment, high: Moment, between: Iterable[Recorded]) -> dict[str, int]:
    """path → seq of the last fact between the two that changed it."""
    found: dict[str, int] = {}
    state = low.state
    for recorded in between:
        after = apply(state, recorded)
        for name in PROJECTIONS:
            for path in _touched(getattr(state, name), getattr(after, name), name):
                found[path] = recorded.seq
        state = after
    newest = high.steps[-1] if high.steps else None
    if newest is not None and isinstance(newest.event, StepsCompleted) and newest.seq > low.seq:
        found |= {f"status.{key}": newest.seq for key in STEPS}
    return found


def _touched(was: Any, became: Any, path: str) -> list[str]:
    """The paths of `differences` between two states; what they share is never looked into."""
    if was is became:
        return []
    one, other = _parts(was), _parts(became)
    if one is None or other is None:
        return [path] if plain(was) != plain(became) else []
    found = []
    for key in {*one, *other}:
        found += _touched(one.get(key), other.get(key), f"{path}.{key}")
    return found


def _parts(value: Any) -> Any:
    """What a value consists of, by name; None: it is a leaf."""
    if isinstance(value, Map | dict):
        return value
    if hasattr(value, "__dataclass_fields__"):
        return {name: getattr(value, name) for name in value.__dataclass_fields__}
    return None


def _inside(set_by: dict[str, int]) -> dict[str, int]:
    """path → the last fact that touched it or anything inside it."""
    found: dict[str, int] = {}
    for path, seq in set_by.items():
        for whole in (path, *_wholes(path)):
            found[whole] = max(seq, found.get(whole, 0))
    return found


def _wholes(path: str) -> list[str]:
    """What a path is part of."""
    return [path[:n] for n, character in enumerate(path) if character == "."]


def _setter(set_by: dict[str, int], inside: dict[str, int], newest: int | None, path: str) -> int | None:
    """The last fact that touched this path, anything inside it, or the whole it is part of.

    Status has no facts of its own: the newest step stands for its figures, else the newest fact.
    """
    if path.startswith("status."):
        return set_by.get(".".join(path.split(".")[:2])) or newest
    touched = [inside.get(path), *(set_by.get(whole) for whole in _wholes(path))]
    return max((seq for seq in touched if seq is not None), default=None)
