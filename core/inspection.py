"""Inspection: are the folders what the log says? Looks, and never repairs."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from core.files import folder_sha256, sha256_of
from core.store.checking import backup_problems
from db.processes import holder
from db.workspace import PRIORITIES, TERMINAL_FOLDERS, Workspace
from events.verify import Problem
from projections.fold import State

MANIFEST = "manifest.json"
MODELS = ("models/versions/", "models/current_model/")  # versions and resume points

#: The SHA-256 of a file; raises OSError.
Hash = Callable[[Path], str]

#: How to read every byte of what lies at a path (relative to the workspace); None: names and sizes will do.
Reads = Callable[[str], Hash | None]

_BACK = "put the folder back from a backup (`evertrain backup restore`, then copy it)"
_VERSION = f"{_BACK}; if it is the current version, `evertrain versions restore ID` puts another in its place"
_LOG = "stop the service, keep a copy of the workspace, and go on from the newest verified backup"

#: What to do, by the kind of the problem.
REMEDIES = {
    "file_missing": "put the file back where it lay, or drop it into the inbox again",
    "file_changed": "put back the bytes that came in; to train these, drop them into the inbox as a new file",
    "file_unknown": "move it into the inbox if it is to be trained, else out of the workspace",
    "version": _VERSION,
    "version_missing": _VERSION,
    "checkpoint": "none needed while an older resume point is whole: this one is set aside and goes in time",
    "checkpoint_missing": f"none needed while an older resume point is whole; else {_BACK}",
    "folder_unknown": "move it out of the workspace, or delete it: nothing will ever use it",
    "current_model": "restart the service: it shows the current version anew at each start",
    "base_model": "put its files back as they were at `evertrain init`: everything rests on them",
    "leftover": "delete it: who wrote it is gone",
    "backup": "take another one (`evertrain backup now`); until then restore from an older one",
    "backup_missing": "mount its disk, or put the folder back; nothing of it is taken for damaged or deleted",
    "projection": "`evertrain rebuild` folds everything again from the log",
    "answer": f"what was appended is whole, but the same command could be done twice: {_LOG}",
    "schema": f"what refuses changes to facts, or finds them quickly, is gone: {_LOG}",
    **dict.fromkeys(("sqlite", "gap", "chain", "changed", "missing", "unchained", "anchor"), _LOG),
    "unreadable": f"open it with the version of evertrain that wrote it; if that fails, {_LOG}",
    "unfoldable": _LOG,
}


def with_remedy(problem: Problem) -> Problem:
    """The problem with what to do about it."""
    return replace(problem, remedy=REMEDIES[problem.kind])


def folder_problems(folder: Path, manifest_sha256: str, hash_of: Hash | None = sha256_of) -> list[str]:
    """What is wrong with a folder that has a manifest {files: {name: {sha256, size…}}}.

    Every byte is read; without `hash_of` names and sizes are compared.
    """
    try:
        manifest = (folder / MANIFEST).read_bytes()
    except OSError as error:
        return [f"{MANIFEST} cannot be read ({error.strerror})"]
    if hashlib.sha256(manifest).hexdigest() != manifest_sha256:
        return [f"{MANIFEST} is not the one the log knows"]
    files = json.loads(manifest)["files"]
    found = (_differs(folder / name, wanted, hash_of) for name, wanted in files.items())
    return [problem for problem in found if problem is not None]


def _differs(path: Path, wanted: dict[str, Any], hash_of: Hash | None) -> str | None:
    """`wanted`: what a manifest says of the file."""
    try:
        size = path.stat().st_size
        if hash_of is not None and hash_of(path) != wanted["sha256"]:
            return f"{path.name} holds other bytes than were written"
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    written = wanted.get("size_bytes", wanted.get("size"))
    return None if written in (size, None) else f"{path.name} has {size} bytes, {written} were written"


def inspect(workspace: Workspace, state: State, *, deep: bool, reads: Reads | None = None) -> list[Problem]:
    """Files, versions, resume points, base model and backups against the log.

    Every byte of versions and resume points is read; `deep`: of everything; `reads`: of what it says.
    """
    read = reads or (lambda path: sha256_of if deep or path.startswith(MODELS) else None)
    found = [
        *_files(workspace, state, read),
        *_strangers_in_queue(workspace, state),
        *_models(workspace, state, read),
        *_stranger_models(workspace, state),
        *_current_model(workspace, state, read),
        *_base_model(workspace, state, read),
        *_leftovers(workspace),
        *backup_problems(workspace.root, state, lambda path: read(path) is not None),
    ]
    return [with_remedy(problem) for problem in found]


def _files(workspace: Workspace, state: State, read: Reads) -> Iterator[Problem]:
    # what is lost is told already
    placed = [(e.sha256, e.placed, e.since) for e in state.queue.entries.values() if not e.lost]
    lost = {e.sha256 for e in state.queue.entries.values() if e.lost}  # and so is what only repeats it
    placed += [(c.sha256, c.placed, c.seq) for c in state.inbox.duplicates.values() if c.sha256 not in lost]
    for sha256, where, seq in placed:
        if where is None:
            continue
        path = workspace.root / where
        try:
            if path.stat().st_size != state.inbox.files[sha256].size_bytes or (
                (hash_of := read(where)) is not None and hash_of(path) != sha256
            ):
                yield Problem("file_changed", seq, where, "its bytes are not those that were received")
        except OSError as error:
            detail = f"the log knows a file here, and it cannot be read ({error.strerror})"
            yield Problem("file_missing", seq, where, detail)


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


def _models(workspace: Workspace, state: State, read: Reads) -> Iterator[Problem]:
    known = [("version", v.log_seq, v.path, v.manifest_sha256) for v in state.versions]
    known += [("checkpoint", c.saved, c.path, c.manifest_sha256) for c in state.storage.usable]
    for kind, seq, where, manifest_sha256 in known:
        folder = workspace.root / where
        if not folder.is_dir():
            yield Problem(f"{kind}_missing", seq, where, "the log knows a folder here")
            continue
        if problems := folder_problems(folder, manifest_sha256, read(where)):
            yield Problem(kind, seq, where, "; ".join(problems))
        yield from _strangers_in_model(workspace, folder, kind)


def _strangers_in_model(workspace: Workspace, folder: Path, kind: str) -> Iterator[Problem]:
    """What was added to a folder: who loads it may read that too (an adapter's settings, say)."""
    try:
        known = {MANIFEST, *json.loads((folder / MANIFEST).read_bytes())["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return  # told as damage, or deleted a moment ago
    for path in sorted(folder.glob("[!.]*")):
        if path.name not in known:
            detail = f"the {kind} was made without this file"
            yield Problem("file_unknown", None, workspace.relative(path), detail)


def _stranger_models(workspace: Workspace, state: State) -> Iterator[Problem]:
    here = [version for version in state.versions.versions.values() if version.state != "deleted"]
    known = {version.path for version in here} | set(state.storage.checkpoints)
    found = [*workspace.versions.glob("*"), *workspace.current_model.glob("checkpoint-*")]
    for path in sorted(found):
        where = workspace.relative(path)
        if where not in known and not path.name.startswith("."):
            yield Problem("folder_unknown", None, where, "the log does not know this folder")


def _current_model(workspace: Workspace, state: State, read: Reads) -> Iterator[Problem]:
    """Against the current version's manifest; a manifest that is not the log's is told with the version."""
    if state.versions.current is None:
        return
    version = state.versions.versions[state.versions.current]
    shown = workspace.current_model
    where = workspace.relative(shown)
    try:
        manifest = (workspace.root / version.path / MANIFEST).read_bytes()
    except OSError:
        return
    if hashlib.sha256(manifest).hexdigest() != version.manifest_sha256:
        return
    files, hash_of = json.loads(manifest)["files"], read(where)
    wrong = [p for name, wanted in files.items() if (p := _differs(shown / name, wanted, hash_of))]
    if wrong:
        yield Problem(
            "current_model", version.published, where, f"it is not {version.id}: {'; '.join(wrong)}"
        )


def _base_model(workspace: Workspace, state: State, read: Reads) -> Iterator[Problem]:
    created = state.workspace.created
    if created is None:
        return
    folder = workspace.root / created.base_model
    if not folder.is_dir():
        yield Problem("base_model", 1, created.base_model, "the log knows a base model here")
    elif (hash_of := read(created.base_model)) is not None and (
        folder_sha256(folder, hash_of) != created.base_sha256
    ):
        yield Problem("base_model", 1, created.base_model, "its files are not those the workspace began with")


def _leftovers(workspace: Workspace) -> Iterator[Problem]:
    """What a process left that is gone, and the one that runs did not sweep. What is younger is at work."""
    began = {role: _began(holder(workspace.locks, role)) for role in ("daemon", "trainer")}
    for place in (workspace.versions, workspace.current_model):
        for path in sorted((*place.glob(".*.partial*"), *place.glob(".*.deleting"))):
            role = "trainer" if path.name.startswith(".checkpoint-") and ".partial" in path.name else "daemon"
            with suppress(FileNotFoundError):
                if path.lstat().st_ctime < began[role]:
                    where = workspace.relative(path)
                    yield Problem("leftover", None, where, f"it is older than the {role} that runs")


def _began(pid: int | None) -> float:
    """When this process began, in seconds since the epoch, rather too early by a second; 0: nobody."""
    try:
        return psutil.Process(pid).create_time() - 1 if pid else 0.0  # the kernel tells boot time in seconds
    except psutil.NoSuchProcess:
        return 0.0
