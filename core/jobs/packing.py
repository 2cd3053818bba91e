"""Packing: which files a backup holds, as of one position of the log, and where their bytes lie now."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from core.decide.backup import resume_points
from core.files import sha256_of
from core.jobs.poll import arrival_name, arriving
from core.jobs.service import Service
from core.logbook import open_log, state_at
from core.store.manifest import LOG, Entry, Manifest, is_inside
from core.store.restoring import base_sha256
from db.engine import copy_database
from db.workspace import Workspace
from projections.fold import State
from projections.status import iso
from projections.storage import Backup

MANIFEST = "manifest.json"


class Shifting(Exception):
    """A file went or changed while it was looked at: look again, with the log as it is by then."""


class Damaged(Exception):
    """A version, resume point or waiting file is not as the log knows it; `missing`: nothing is there."""

    def __init__(self, path: str, what: str, *, missing: bool = False) -> None:
        super().__init__(f"{path}: {what}")
        self.path, self.what, self.missing = path, what, missing


class BaseDamaged(Exception):
    """The base model is not the one that the workspace was made on: nothing here can be restored from it."""


@dataclass(frozen=True, slots=True)
class Packed:
    """What a backup will hold, and which live file has each content."""

    manifest: Manifest
    sources: dict[str, Path]  # sha256 → a file with these bytes
    owners: dict[str, str]  # sha256 → the version, resume point or waiting file that its source belongs to


@dataclass(slots=True)
class _Files:
    """What was found so far."""

    root: Path
    entries: dict[str, Entry]
    sources: dict[str, Path]
    owners: dict[str, str]

    def add(self, name: str, path: Path, sha256: str | None = None, owner: str | None = None) -> None:
        """A file under its name; without a known hash its bytes are read."""
        try:
            status = path.stat()
            found = sha256 or sha256_of(path)
        except FileNotFoundError as error:
            if owner is not None:
                missing = not (self.root / owner).exists()
                raise Damaged(owner, f"{path.name} is missing", missing=missing) from error
            raise Shifting(str(path)) from error
        self.entries[name] = Entry(sha256=found, size_bytes=status.st_size, mode=status.st_mode & 0o777)
        if found not in self.sources:
            self.sources[found] = path
            if owner is not None:
                self.owners[found] = owner


def pack(service: Service, backup: Backup, scratch: Path, without: frozenset[str]) -> Packed:
    """Everything that belongs to a backup; the log's copy is made in `scratch`.

    `without`: paths of damaged versions, resume points, files. Raises Shifting, Damaged, BaseDamaged.
    """
    root = service.workspace.root
    copy = scratch / LOG
    copy.unlink(missing_ok=True)
    copy_database(service.workspace.log, copy)
    log = open_log(Workspace(scratch), "backup")
    try:
        head = log.head()
        state = state_at(log)
        position = (head, log.commit_of(head)[1].hex())
        started = (backup.started, log.commit_of(backup.started)[1].hex())
    finally:
        log.close()  # the last connection: the whole log is in the one file
    files = _Files(root, {}, {}, {})
    files.add(LOG, copy)
    files.add("config.json", _config(service.workspace.config, state, scratch))
    fixed = state.workspace.fixed_set
    if fixed is not None and is_inside(fixed.path) and (root / fixed.path).is_file():
        files.add(fixed.path, root / fixed.path)
    created = state.workspace.created
    assert created is not None
    for path in sorted((root / created.base_model).rglob("*")):
        if path.is_file():
            files.add(path.relative_to(root).as_posix(), path)
    if base_sha256(files.entries, created.base_model) != created.base_sha256:
        raise BaseDamaged(f"{created.base_model} is not as it was installed: copy the base model there again")
    versions = [known for known in state.versions if known.path not in without]
    for known in versions:
        _add_folder(files, known.path, known.manifest_sha256)
    points = resume_points(state, without)
    for point in points:
        _add_folder(files, point.path, point.manifest_sha256)
    for name, path, sha256 in _queue(service, state, without):
        files.add(name, path, sha256, service.workspace.relative(path))
    manifest = Manifest(
        format=1,
        id=backup.id,
        created_at=iso(backup.at),
        software=version("evertrain"),
        base_model=created.base_model,
        started=started,
        log=position,
        versions=tuple(known.id for known in versions),
        checkpoints=tuple(point.path for point in points),
        files=dict(sorted(files.entries.items())),
    )
    return Packed(manifest, files.sources, files.owners)


def _config(live: Path, state: State, scratch: Path) -> Path:
    """config.json as it lies there; where there is none, the settings in force."""
    if live.is_file():
        return live
    path = scratch / "config.json"
    path.write_text(json.dumps(state.workspace.config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _add_folder(files: _Files, folder: str, manifest_sha256: str) -> None:
    """The files that a folder's own manifest names, and that manifest."""
    try:
        raw = (files.root / folder / MANIFEST).read_bytes()
    except FileNotFoundError as error:
        missing = not (files.root / folder).exists()
        raise Damaged(folder, f"{MANIFEST} is missing", missing=missing) from error
    if hashlib.sha256(raw).hexdigest() != manifest_sha256:
        raise Damaged(folder, f"{MANIFEST} is not the one the log knows")
    files.add(f"{folder}/{MANIFEST}", files.root / folder / MANIFEST, manifest_sha256, folder)
    for name, wanted in json.loads(raw)["files"].items():
        files.add(f"{folder}/{name}", files.root / folder / name, wanted["sha256"], folder)


def _queue(service: Service, state: State, without: frozenset[str]) -> Iterator[tuple[str, Path, str]]:
    """(name, where it lies now, sha256) of every file that was not trained to an end, and of its duplicates.

    What is nowhere is left out: the log says so, or will.
    """
    root, now = service.workspace.root, service.state()
    places: dict[str, Path] = {}
    for entry in sorted(state.queue.entries.values(), key=lambda e: e.since):
        if entry.state == "completed" or entry.lost:
            continue
        arrival = service.workspace.relative(arriving(service) / entry.sha256)
        names = [entry.placed, now.queue.entries[entry.sha256].placed, arrival]
        found = next((root / n for n in names if n is not None and (root / n).is_file()), None)
        if found is None or service.workspace.relative(found) in without:
            continue
        places[entry.sha256] = found
        yield entry.placed or arrival, found, entry.sha256
    for copy in sorted(state.inbox.duplicates.values(), key=lambda c: c.seq):
        if copy.sha256 in places:
            copying = arriving(service) / arrival_name(copy)
            yield copy.placed or service.workspace.relative(copying), places[copy.sha256], copy.sha256
