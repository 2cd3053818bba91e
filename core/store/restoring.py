"""Restoring: every file of a backup at its place again, checked while it is written; and the proof of it."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath

from core.files import fsync_folder
from core.logbook import open_log, state_at
from core.store.manifest import LOG, Entry, Manifest
from core.store.objects import ObjectDamaged, Store
from core.store.places import GoOn, proceed
from db.engine import LogUnreadable
from db.workspace import Workspace
from events.verify import Anchor, verify_log
from projections.fold import State, digest

#: In a rehearsal a file above this size goes again once it was checked: the disk need not hold all twice.
KEPT_BYTES = 64 * 10**6
WEIGHTS = ".safetensors"
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with a restored backup; `sha256` of the object it comes from, where it is one."""

    path: str
    detail: str
    sha256: str | None = None

    def __str__(self) -> str:
        return f"{self.path} {self.detail}"


def restore(store: Store, manifest: Manifest, folder: Path, go_on: GoOn = proceed) -> list[Flaw]:
    """Write every file below `folder`, which must be empty, durably; gives what is damaged."""
    flaws = list(_fetch(store, manifest, folder, go_on, lambda entry: True))
    for made in {folder, *(path for path in folder.rglob("*") if path.is_dir())}:
        fsync_folder(made)
    return flaws


def rehearsal_bytes(manifest: Manifest) -> int:
    """What a rehearsal takes at most: all that stays, and the largest file that goes again."""
    sizes = [entry.size_bytes for entry in manifest.files.values()]
    large = max((size for size in sizes if size > KEPT_BYTES), default=0)
    return large + sum(size for size in sizes if size <= KEPT_BYTES)


def rehearse(
    store: Store, manifest: Manifest, folder: Path, expected: bytes | None, go_on: GoOn = proceed
) -> list[Flaw]:
    """Restore into a scratch folder and open what came out; large files go again once they are checked.

    `expected`: the digest of the live state as of the log position in the backup.
    """
    flaws = list(_fetch(store, manifest, folder, go_on, lambda entry: entry.size_bytes <= KEPT_BYTES))
    return flaws or examine(manifest, folder, expected)


def _fetch(
    store: Store, manifest: Manifest, folder: Path, go_on: GoOn, stays: Callable[[Entry], bool]
) -> Iterator[Flaw]:
    for name, entry in sorted(manifest.files.items()):
        go_on()
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            store.fetch(entry.sha256, path, entry.mode, go_on)
        except ObjectDamaged as error:
            yield Flaw(name, f"cannot be had back: {error}", error.sha256)
            continue
        if path.suffix == WEIGHTS and (problem := _unloadable(path)) is not None:
            yield Flaw(name, problem, entry.sha256)
        if not stays(entry):
            path.unlink()


def _unloadable(path: Path) -> str | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as tensors:
            return None if tensors.keys() else "holds no tensor"
    except (SafetensorError, OSError) as error:
        return f"does not open ({error})"


# -- what came out -----------------------------------------------------------------------------------


def examine(manifest: Manifest, folder: Path, expected: bytes | None = None) -> list[Flaw]:
    """Open a restored workspace: its log's check and chain, its folds, what the log says of each file."""
    try:
        log = open_log(Workspace(folder), "backup")
    except LogUnreadable as error:
        return [Flaw(LOG, str(error))]
    try:
        flaws = [
            Flaw(LOG, f"{problem.kind} at #{problem.seq}: {problem.detail}")
            for problem in verify_log(log.reader, _anchors(manifest, folder)).problems
        ]
        if flaws:
            return flaws
        if log.head() != manifest.log[0]:
            return [Flaw(LOG, f"ends at #{log.head()}, not at #{manifest.log[0]}")]
        state = state_at(log)
    finally:
        log.close()
    if expected is not None and digest(state) != expected:
        return [Flaw(LOG, "folds to another state than the live log")]
    return list(_contents(manifest, state, folder))


def _anchors(manifest: Manifest, folder: Path) -> Iterator[Anchor]:
    """The chain heads in its own and in the versions' manifests."""
    yield Anchor(*manifest.log)
    for version in manifest.versions:
        path = folder / "models" / "versions" / version / MANIFEST
        if path.is_file():
            head = json.loads(path.read_bytes()).get("log", {})
            if "seq" in head:
                yield Anchor(int(head["seq"]), str(head["hash"]), f"models/versions/{version}/{MANIFEST}")


def _contents(manifest: Manifest, state: State, folder: Path) -> Iterator[Flaw]:
    """Versions, resume points, base model and waiting files against the log that came with them."""
    for version in manifest.versions:
        if version not in state.versions.versions:
            yield Flaw(version, "is a version that the log does not know")
            continue
        known = state.versions.versions[version]
        yield from _models(manifest, folder, known.path, known.manifest_sha256)
    for path in manifest.checkpoints:
        if path not in state.storage.checkpoints:
            yield Flaw(path, "is a resume point that the log does not know")
            continue
        yield from _models(manifest, folder, path, state.storage.checkpoints[path].manifest_sha256)
    created = state.workspace.created
    if created is None or base_sha256(manifest.files, created.base_model) != created.base_sha256:
        yield Flaw(manifest.base_model, "is not the base model that the log knows")
    for entry in state.queue.entries.values():
        if entry.placed in manifest.files and manifest.files[entry.placed].sha256 != entry.sha256:
            yield Flaw(entry.placed, "holds other bytes than were received")


def _models(manifest: Manifest, folder: Path, path: str, manifest_sha256: str) -> Iterator[Flaw]:
    """A folder whose own manifest names its files, as the store has them."""
    name = f"{path}/{MANIFEST}"
    if name not in manifest.files or manifest.files[name].sha256 != manifest_sha256:
        yield Flaw(name, "is not the one that the log knows")
        return
    for file, wanted in json.loads((folder / name).read_bytes())["files"].items():
        kept = manifest.files.get(f"{path}/{file}")
        if kept is None or kept.sha256 != wanted["sha256"]:
            yield Flaw(f"{path}/{file}", "is missing or holds other bytes than its manifest says")


def base_sha256(files: dict[str, Entry], base: str) -> str:
    """The hash of a base model by the hashes of its files: the very one that its install computed."""
    whole = sha256()
    names = sorted(PurePosixPath(n).relative_to(base) for n in files if n.startswith(f"{base}/"))
    for name in names:
        whole.update(f"{files[f'{base}/{name}'].sha256} {name}\n".encode())
    return whole.hexdigest()


def clear(folder: Path) -> Path:
    """An empty folder in this place, whatever a crash left in it."""
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, mode=0o700)
    return folder
