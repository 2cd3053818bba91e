"""Facts for tests: one of every kind, with every field filled."""

import hashlib
import math
import types
import typing
from typing import Any

from events.codec import TYPES
from events.types import Event, Recorded


def sha(name: str) -> str:
    """The hash of a made-up content."""
    return hashlib.sha256(name.encode()).hexdigest()


def value(hint: Any, field: str) -> Any:
    """A plausible value of a field's type; the same for the same field."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return value(inner[0], field)
    if origin is tuple:
        return (f"{field} one", f"{field} two")
    if field == "lines":
        return {"key": (1, 2)}
    if field == "lengths":
        return {"p50": 3, "max": None}
    if field == "terms":
        return {"weights": (1, 2, 3)}
    if field == "columns":
        return {"loss": [1.5, math.nan, None, math.inf, -math.inf], "tokens": [1, 2, 3, 4, 5]}
    if origin is dict:
        return {"key": 3 if inner[1] is int else ["before", 1.5] if field == "changes" else "text"}
    if hint is str and "sha256" in field:
        return sha(field)
    plain: dict[Any, Any] = {str: f"the {field}", int: len(field), float: len(field) / 8, bool: True}
    return plain[hint]


def names(cls: type[Event]) -> list[str]:
    """Its fields; VERSION and STREAM are none."""
    return list(cls.__struct_fields__)


def specimen(cls: type[Event], **chosen: Any) -> Event:
    """A fact of this type: chosen fields as given, every other one made up."""
    hints = typing.get_type_hints(cls)
    fields = {name: value(hints[name], name) for name in names(cls)}
    return cls(**(fields | chosen))


def specimens() -> list[Event]:
    """One of every kind there is."""
    return [specimen(cls) for _, cls in sorted(TYPES.items())]


def recorded(facts: list[Event], after: int = 0) -> list[Recorded]:
    """As a log would hold them: numbered, a second apart."""
    return [
        Recorded(seq, 1_700_000_000_000_000 + seq * 1_000_000, "test", fact)
        for seq, fact in enumerate(facts, start=after + 1)
    ]
