"""The moments: everything as of a position of the log, what differs between two, and by which fact. Pure."""

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from immutables import Map
from msgspec import Struct
from msgspec.structs import asdict

from events.types import Recorded
from projections import status
from projections.fold import PROJECTIONS, READERS, State, plain

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
        if one.is_there
    }


def status_document(moment: Moment) -> dict[str, Any]:
    """The status document as of then; memory, disk and GPU were not measured into any fold."""
    beats = processes(moment.state, moment.at)
    return status.document(moment.state, moment.steps, beats, {}, moment.at, moment.seq)


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
    set_by, newest = _set_by(low, high, between)
    changes = []
    for path, was, became in _all(low, high):
        changes.append({
            "path": path,
            "before": was if forward else became,
            "after": became if forward else was,
            "set_by": _setter(set_by, newest, path),
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


def _set_by(low: Moment, high: Moment, between: Iterable[Recorded]) -> tuple[dict[str, int], int | None]:
    """path → seq of the last fact that changed it, for all that differs in the end; and the last of all."""
    found: dict[str, int] = {}
    newest = None
    states = {name: getattr(low.state, name) for name in PROJECTIONS}
    wanted = {name: _tree(getattr(low.state, name), getattr(high.state, name)) for name in PROJECTIONS}
    for recorded in between:
        for name, apply in READERS.get(type(recorded.event), ()):
            was = states[name]
            states[name] = became = apply(was, recorded)
            if was is not became:
                newest = recorded.seq
                for path in _touched(was, became, wanted[name], name):
                    found[path] = recorded.seq
    step = high.steps[-1] if high.steps else None
    if step is not None and step.seq > low.seq:
        found |= {f"status.{key}": step.seq for key in STEPS}
        newest = max(newest or 0, step.seq)
    return found, newest


def _tree(was: Any, became: Any) -> Any:
    """What differs, as names inside names; None: the value as a whole."""
    one, other = _parts(was), _parts(became)
    if one is None or other is None:
        return None
    return {key: _tree(one.get(key), other.get(key)) for key in _differing(one, other)}


def _touched(was: Any, became: Any, wanted: Any, path: str) -> list[str]:
    """The paths of a tree that are not the same in two states; what they share is never looked into."""
    one, other = _parts(was), _parts(became)
    if wanted is None or one is None or other is None:
        return [path] if was != became else []
    found = []
    for key, inner in wanted.items():
        before, after = one.get(key), other.get(key)
        if before is not after:
            found += _touched(before, after, inner, f"{path}.{key}")
    return found


def _all(low: Moment, high: Moment) -> list[tuple[str, Any, Any]]:
    """The differences of two whole documents, found without making either."""
    found = differences(status_document(low), status_document(high), "status")
    for name in PROJECTIONS:
        found += _leaves(getattr(low.state, name), getattr(high.state, name), name)
    return sorted(found, key=lambda one: one[0].split("."))


def _leaves(was: Any, became: Any, path: str) -> list[tuple[str, Any, Any]]:
    """The `differences` of two states as plain values; what they share is never looked into."""
    if was is became:
        return []
    one, other = _parts(was), _parts(became)
    if one is None or other is None:
        before, after = plain(was), plain(became)
        return [(path, before, after)] if before != after else []
    found = []
    for key in _differing(one, other):
        found += _leaves(one.get(key), other.get(key), f"{path}.{key}")
    return found


def _differing(one: Any, other: Any) -> list[Any]:
    """The keys under which two mappings do not hold the very same object."""
    if len(one) == len(other) and all(map(operator.is_, one, other)):  # one key set again: nearly always
        same = map(operator.is_, one.values(), other.values())
        return [key for key, kept in zip(one, same, strict=True) if not kept]
    return [
        key for key in {**dict.fromkeys(one), **dict.fromkeys(other)} if one.get(key) is not other.get(key)
    ]


def _parts(value: Any) -> Any:
    """What a value consists of, by name; None: it is a leaf."""
    if isinstance(value, Map | dict):
        return value
    if isinstance(value, Struct):
        return asdict(value)
    return None


def _setter(set_by: dict[str, int], newest: int | None, path: str) -> int | None:
    """The last fact that touched this path, or the whole it is part of.

    Status has no facts of its own: the newest step stands for its figures, else the newest fact.
    """
    if path.startswith("status."):
        return set_by.get(".".join(path.split(".")[:2])) or newest
    wholes = (path[:n] for n, character in enumerate(path) if character == ".")
    touched = [seq for name in (path, *wholes) if (seq := set_by.get(name)) is not None]
    return max(touched, default=None)
