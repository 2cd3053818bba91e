"""Inspection: are the folders what the log says? Looks, and never repairs."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from core.files import sha256_of
from core.store.checking import backup_problems
from db.workspace import PRIORITIES, TERMINAL_FOLDERS, Workspace
from events.verify import Problem
from projections.fold import State

MANIFEST = "manifest.json"


def folder_problems(folder: Path, manifest_sha256: str) -> list[str]:
    """What is wrong with a folder that has a manifest {files: {name: {sha256, …}}}; every byte is read."""
    try:
        manifest = (folder / MANIFEST).read_bytes()
    except OSError as error:
        return [f"{MANIFEST} cannot be read ({error.strerror})"]
    if hashlib.sha256(manifest).hexdigest() != manifest_sha256:
        return [f"{MANIFEST} is not the one the log knows"]
    problems = []
    for name, wanted in json.loads(manifest)["files"].items():
        try:
            if sha256_of(folder / name) != wanted["sha256"]:
                problems.append(f"{name} holds other bytes than were written")
        except OSError as error:
            problems.append(f"{name} cannot be read ({error.strerror})")
    return problems


def inspect(workspace: Workspace, state: State, *, deep: bool) -> list[Problem]:
    """Files, versions and resume points against the log. `deep`: queued files and backups are hashed too."""
    return [
        *_files(workspace, state, deep),
        *_strangers_in_queue(workspace, state),
        *_models(workspace, state),
        *_stranger_models(workspace, state),
        *(backup_problems(workspace.root, state) if deep else ()),
    ]


def _files(workspace: Workspace, state: State, deep: bool) -> Iterator[Problem]:
    # what is lost is told already
    placed = [(e.sha256, e.placed, e.since) for e in state.queue.entries.values() if not e.lost]
    lost = {e.sha256 for e in state.queue.entries.values() if e.lost}  # and so is what only repeats it
    placed += [(c.sha256, c.placed, c.seq) for c in state.inbox.duplicates.values() if c.sha256 not in lost]
    for sha256, where, seq in placed:
        if where is None:
            continue
        path = workspace.root / where
        if not path.is_file():
            yield Problem("file_missing", seq, where, "the log knows a file here")
        elif path.stat().st_size != state.inbox.files[sha256].size_bytes or (
            deep and sha256_of(path) != sha256
        ):
            yield Problem("file_changed", seq, where, "its bytes are not those that were received")


def _strangers_in_queue(workspace: Workspace, state: State) -> Iterator[Problem]:
    known = {entry.placed for entry in state.queue.entries.values()}
    known |= {copy.placed for copy in state.inbox.duplicates.values()}
    for folder in (*PRIORITIES, "processing", *TERMINAL_FOLDERS):
        place = workspace.queue / folder
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            where = workspace.relative(path)
            is_report = path.name.endswith(".report.json") and where.removesuffix(".report.json") in known
            if where not in known and not is_report and not path.name.startswith("."):
                yield Problem("file_unknown", None, where, "the log does not know this file")


def _models(workspace: Workspace, state: State) -> Iterator[Problem]:
    for version in state.versions:
        for problem in folder_problems(workspace.root / version.path, version.manifest_sha256):
            yield Problem("version", version.log_seq, version.path, problem)
    for checkpoint in state.storage.usable:
        for problem in folder_problems(workspace.root / checkpoint.path, checkpoint.manifest_sha256):
            yield Problem("checkpoint", checkpoint.saved, checkpoint.path, problem)


def _stranger_models(workspace: Workspace, state: State) -> Iterator[Problem]:
    here = [version for version in state.versions.versions.values() if version.state != "deleted"]
    known = {version.path for version in here} | set(state.storage.checkpoints)
    found = [*workspace.versions.glob("*"), *workspace.current_model.glob("checkpoint-*")]
    for path in sorted(found):
        where = workspace.relative(path)
        if where not in known and not path.name.startswith("."):
            yield Problem("folder_unknown", None, where, "the log does not know this folder")
