"""config.json: read, checked against the settings, written; every wrong key is named with its remedy."""

import dataclasses
import hashlib
import importlib.util
import json
import types
import typing
from pathlib import Path
from typing import Any

from core.settings import Settings, problems

#: What does as well as the package that has the tracker's name.
OTHER_PACKAGES = {"tensorboard": ("tensorboardX",)}


class ConfigInvalid(Exception):
    """config.json cannot be used; `problems` says what, where and what is allowed."""

    def __init__(self, found: list[str]) -> None:
        super().__init__("; ".join(found))
        self.problems = tuple(found)


def load(path: Path) -> Settings:
    """The settings of a file. Raises ConfigInvalid."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError as error:
        raise ConfigInvalid([f"{path} is not there: put it back, or write {{}} for the defaults"]) from error
    except (ValueError, RecursionError, OSError) as error:
        raise ConfigInvalid([f"{path} is not readable JSON ({type(error).__name__}: {error})"]) from error
    settings = parse(raw)
    if missing := [name for name in settings.report_to if not _is_installed(name)]:
        packages = " ".join(missing)
        raise ConfigInvalid(
            [
                f"report_to: not installed beside evertrain: {', '.join(missing)}; "
                f"run `pip install {packages}` in its environment (.venv/bin/pip), or take it out"
            ]
        )
    return settings


def _is_installed(tracker: str) -> bool:
    """Is the tracker's package there? It is looked for, not imported; a folder of that name is none."""
    for package in (tracker, *OTHER_PACKAGES.get(tracker, ())):
        found = importlib.util.find_spec(package)
        if found is not None and found.origin is not None:
            return True
    return False


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number JSON knows")


def parse(raw: Any) -> Settings:
    """Plain values as settings. Raises ConfigInvalid naming every wrong key."""
    if not isinstance(raw, dict):
        raise ConfigInvalid([f"config.json must hold an object, not {type(raw).__name__}"])
    found: list[str] = []
    settings = _build(Settings, raw, "", found)
    if not found:
        found = problems(settings)
    if found:
        raise ConfigInvalid(found)
    return typing.cast(Settings, settings)


def _build(cls: type[Any], raw: dict[str, Any], place: str, found: list[str]) -> Any:
    hints = typing.get_type_hints(cls)
    known = {}
    for key, value in raw.items():
        if key not in hints:
            found.append(f"{place}{key}: unknown key; known are {', '.join(sorted(hints))}")
            continue
        before = len(found)
        converted = _convert(hints[key], value, f"{place}{key}", found)
        if len(found) == before:
            known[key] = converted
    try:
        return cls(**known)
    except TypeError:
        found.append(f"{place or 'config'}: {', '.join(sorted(set(hints) - set(known)))} missing")
        return None


def _convert(hint: Any, value: Any, place: str, found: list[str]) -> Any:
    """`value` as `hint` says; a problem is noted otherwise. bool is no number, 1 is a fine float."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in inner:
            return None
        trials: list[str] = []
        for option in inner:
            if option is not type(None):
                trials = []
                converted = _convert(option, value, place, trials)
                if not trials:
                    return converted
        found += trials
        return None
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(inner[0], item, f"{place}[{n}]", found) for n, item in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {key: _convert(inner[1], item, f"{place}.{key}", found) for key, item in value.items()}
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return _build(typing.cast(type[Any], hint), value, f"{place}.", found)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and origin is None and type(value) is hint:
        return value
    wanted = getattr(hint, "__name__", str(hint)) if origin is None else str(origin.__name__)
    found.append(f"{place}: {value!r} is not of the kind {wanted}")
    return None


def plain(settings: Settings) -> dict[str, Any]:
    """The settings as JSON-ready values, every key; 10 and 10.0 are one value: equal settings, equal text."""
    exact = _build(Settings, _as_json(settings), "", [])
    return _as_json(exact)


def _as_json(settings: Settings) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(settings)))
    return values


def digest(config: dict[str, Any]) -> str:
    """SHA-256 of an effective config."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[Any]]:
    """key → [before, after] of what differs."""
    keys = sorted(before.keys() | after.keys())
    return {key: [before.get(key), after.get(key)] for key in keys if before.get(key) != after.get(key)}
