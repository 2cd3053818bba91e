"""Anchors: the chain heads outside the log, in manifests and in a file that a person keeps elsewhere."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from core.config import ConfigInvalid, parse
from core.files import fsync_folder
from core.inspection import MANIFEST
from core.settings import Settings
from core.store.checking import WHOLE
from core.store.manifest import ManifestDamaged
from core.store.objects import Store, manifest_name
from core.store.places import StoreFailed, is_local
from db.workspace import Workspace
from events.verify import Anchor
from projections.fold import State


class NoAnchors(Exception):
    """A file of anchors cannot be used: where and why."""


class _Line(msgspec.Struct):
    seq: int
    hash: str
    at: str  # ISO 8601, for people


def of_versions(place: Workspace) -> Iterator[Anchor]:
    """In the versions' manifests. What cannot be read is told as a damaged version, with its path."""
    for manifest in sorted(place.versions.glob(f"v*/{MANIFEST}")):
        try:
            head = json.loads(manifest.read_text(encoding="utf-8"))["log"]
            yield Anchor(int(head["seq"]), str(head["hash"]), place.relative(manifest))
        except (OSError, ValueError, KeyError, TypeError):
            continue


def of_backups(place: Workspace, state: State | None) -> Iterator[Anchor]:
    """In the backups' manifests on this machine. `state`: what the log says, None where it cannot be folded.

    At the target in force all of them count, also those that the log, if it was cut off, knows no more:
    each workspace has a target of its own. At others only those that it knows.
    """
    known = () if state is None else state.storage.backups_in(*WHOLE)
    target = _target(state.workspace.config if state is not None else None)
    for at in dict.fromkeys((target, *(backup.target for backup in known))):
        if not is_local(at):
            continue
        store = Store.at(at, place.root)
        ours = {backup.id for backup in known if backup.target == at}
        try:
            names = sorted(store.backups())
        except (StoreFailed, OSError):
            continue  # told as a missing store
        for name in names:
            if at == target or name in ours:
                try:
                    yield Anchor(*store.manifest(name).log, f"{at}/{manifest_name(name)}")
                except (ManifestDamaged, OSError):
                    continue  # told as a damaged backup


def _target(config: dict[str, Any] | None) -> str:
    try:
        return (parse(config) if config else Settings()).backup.target
    except ConfigInvalid:  # of a newer evertrain
        return Settings().backup.target


def read(file: Path, place: Workspace) -> list[Anchor]:
    """The lines {seq, hash, at} of a file; none, if it is not there yet. Raises NoAnchors."""
    path = file.expanduser().absolute()
    if path.resolve().is_relative_to(place.root.resolve()):
        raise NoAnchors(f"{path} lies inside the workspace: who can change the log there can change it, too")
    if not path.parent.is_dir():
        raise NoAnchors(f"{path.parent} is not there: mount it, or make the folder")
    try:
        lines = path.read_bytes().splitlines() if path.exists() else []
    except OSError as error:
        raise NoAnchors(f"{path} cannot be read ({error.strerror})") from error
    found = []
    for n, line in enumerate(lines, start=1):
        try:
            told = msgspec.json.decode(line, type=_Line)
        except ValueError as error:
            remedy = "give the file that `verify` wrote"
            raise NoAnchors(f"{path}: line {n} is no anchor ({error}); {remedy}") from error
        found.append(Anchor(told.seq, told.hash, f"{path}:{n}"))
    return found


def add(file: Path, seq: int, hash_hex: str) -> None:
    """One line more, on the disk when this returns. Raises OSError."""
    line = msgspec.json.encode(_Line(seq, hash_hex, datetime.now(UTC).isoformat(timespec="seconds"))) + b"\n"
    path = file.expanduser()
    with path.open("ab") as appended:
        appended.write(line)
        appended.flush()
        os.fsync(appended.fileno())
    fsync_folder(path.parent)
