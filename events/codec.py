"""Facts as JSON text and back; numbers JSON cannot hold (NaN, Inf) are carried beside their place."""

import math
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any

import msgspec
from msgspec.structs import fields

from events import types
from events.types import Event
from events.upcast import UPCASTS, Upcasts, upcast

#: Every fact by its stored name.
TYPES: dict[str, type[Event]] = {
    name: thing
    for name, thing in vars(types).items()
    if isinstance(thing, type) and issubclass(thing, Event) and thing is not Event
}

#: The fields of every fact that may hold a float.
_FLOATING = {
    cls: tuple(f.name for f in fields(cls) if any(kind in str(f.type) for kind in ("float", "Any")))
    for cls in TYPES.values()
}

_ENCODER = msgspec.json.Encoder()

NONFINITE = "nonfinite"
_NOTED = f'"{NONFINITE}":'
_KINDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class UnknownFact(Exception):
    """The log holds a fact that this software does not know: it was written by a newer one."""


def _of_stream(pattern: str) -> tuple[str, Callable[[Event], Any] | None]:
    start, brace, field = pattern.partition("{")
    return start, attrgetter(field[:-1]) if brace else None


#: The stream of every fact: how its name begins, and what of the fact follows, if anything does.
_STREAMS = {cls: _of_stream(cls.STREAM) for cls in TYPES.values()}


def stream_of(event: Event) -> str:
    """The story a fact belongs to, as its class says."""
    start, following = _STREAMS[type(event)]
    return start if following is None else f"{start}{following(event)}"


def stored(event: Event) -> tuple[str, str, int, str]:
    """A fact's own columns: stream, type, version and payload."""
    cls = type(event)
    return stream_of(event), cls.__name__, cls.VERSION, encode(event)


def encode(event: Event) -> str:
    """The payload as compact JSON.

    A non-finite float becomes null, and `nonfinite` names its place and kind: {"columns.loss.3": "nan"}.
    """
    text, floating = _ENCODER.encode(event).decode(), _FLOATING[type(event)]
    # msgspec writes null for what JSON cannot hold: without one nothing is lost
    if not (floating and "null" in text and any(_is_lost(getattr(event, name)) for name in floating)):
        return text
    data = msgspec.to_builtins(event)
    lost: dict[str, str] = {}
    for key, value in data.items():
        if isinstance(value, float | dict | list | tuple):
            data[key] = _finite(value, key, lost)
    if lost:
        data[NONFINITE] = lost
    return _ENCODER.encode(data).decode()


def _is_lost(value: Any) -> bool:
    """Is there a number in it that JSON cannot hold? One that only may be counts as well."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_is_lost, value.values()))
    if isinstance(value, list | tuple):
        try:
            return not math.isfinite(sum(value))  # a column of numbers, at once
        except (TypeError, OverflowError):
            return any(map(_is_lost, value))
    return False


def _finite(value: Any, place: str, lost: dict[str, str]) -> Any:
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        lost[place] = "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
        return None
    if isinstance(value, dict):
        return {key: _finite(item, f"{place}.{key}", lost) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item, f"{place}.{n}", lost) for n, item in enumerate(value)]
    return value


def _restore(data: dict[str, Any], lost: dict[str, str]) -> None:
    for place, kind in lost.items():
        target: Any = data
        *way, last = place.split(".")
        for key in way:
            target = target[int(key)] if isinstance(target, list) else target[key]
        if isinstance(target, list):
            target[int(last)] = _KINDS[kind]
        else:
            target[last] = _KINDS[kind]


_DECODERS = {name: msgspec.json.Decoder(cls) for name, cls in TYPES.items()}


def decode(name: str, version: int, data: str, upcasts: Upcasts = UPCASTS) -> Event:
    """The fact of a stored row.

    Raises UnknownFact for a name or a version newer than this software knows.
    """
    cls = TYPES.get(name)
    if cls is None or version > cls.VERSION:
        known = "no such fact" if cls is None else f"up to version {cls.VERSION}"
        raise UnknownFact(
            f"the log holds {name} version {version}; this evertrain knows {known}. "
            "Install the newer evertrain."
        )
    if version == cls.VERSION and _NOTED not in data:
        event: Event = _DECODERS[name].decode(data)
        return event
    raw = upcast(name, version, cls.VERSION, msgspec.json.decode(data), upcasts)
    _restore(raw, raw.pop(NONFINITE, {}))
    fresh: Event = msgspec.convert(raw, cls)
    return fresh


class Decoders(dict[tuple[str, int], Callable[[str], Event]]):
    """(stored name, version) → how to read its payloads, as `decode` would; found out once for each."""

    def __missing__(self, stored: tuple[str, int]) -> Callable[[str], Event]:
        name, version = stored
        cls = TYPES.get(name)
        found: Callable[[str], Event] = partial(decode, name, version)
        if cls is not None and version == cls.VERSION:
            found = _usual(_DECODERS[name].decode, found) if _FLOATING[cls] else _DECODERS[name].decode
        self[stored] = found
        return found


def _usual(read: Callable[[str], Event], careful: Callable[[str], Event]) -> Callable[[str], Event]:
    return lambda data: careful(data) if _NOTED in data else read(data)
