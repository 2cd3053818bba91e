"""One changed byte in any file that is kept: found, and named."""

import random
from pathlib import Path

import pytest

from core.inspection import inspect
from core.jobs.service import Service
from core.store.manifest import Manifest
from core.store.objects import Store, manifest_name, object_name
from tests.core.damage import change_a_byte
from tests.core.jobs.test_backup import lived, take

__all__ = ["lived"]

FLIPS = 200
SEED = 20260131


def names(manifest: Manifest, sha256: str) -> list[str]:
    return [name for name, entry in manifest.files.items() if entry.sha256 == sha256]


def kept(service: Service) -> dict[Path, str]:
    """Every file of versions, resume points, backup objects and manifests → what must be named."""
    workspace, found = service.workspace, dict[Path, str]()
    for folder in (workspace.versions / "v0001", workspace.current_model / "checkpoint-7"):
        found |= {path: f"{workspace.relative(folder)} {path.name}" for path in folder.iterdir()}
    for path in workspace.backups.rglob("*"):
        if path.is_file():
            found[path] = workspace.relative(path)
    return found


def test_200_changed_bytes_are_200_found(lived: Service) -> None:
    take(lived)
    take(lived)
    chance = random.Random(SEED)
    files = kept(lived)
    missed = []
    for n in range(FLIPS):
        path = sorted(files)[chance.randrange(len(files))]
        whole = path.read_bytes()
        change_a_byte(path, chance)
        said = [f"{p.path} {p.detail}" for p in inspect(lived.workspace, lived.state(), deep=True)]
        if not any(all(word in line for word in files[path].split()) for line in said):
            missed.append((n, path, said))
        path.unlink()
        path.write_bytes(whole)

    print(f"{FLIPS - len(missed)} of {FLIPS} found, over {len(files)} files")
    assert [] == missed, f"seed {SEED}"
    assert [] == inspect(lived.workspace, lived.state(), deep=True)


def test_a_changed_object_is_named_with_every_file_it_is_of(lived: Service) -> None:
    name = take(lived)
    manifest = Store.at("backups", lived.workspace.root).manifest(name)
    sha256 = manifest.files["models/versions/v0001/model.safetensors"].sha256
    change_a_byte(lived.workspace.backups / object_name(sha256))
    (problem,) = inspect(lived.workspace, lived.state(), deep=True)

    assert f"backups/{object_name(sha256)}" == problem.path
    assert all(file in problem.detail for file in names(manifest, sha256))
    assert "backup" == problem.kind


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ("another backup's manifest", ("backup", "backups/backups/b0002.json")),
        ("no manifest", ("backup", "backups/backups/b0002.json")),
        ("no target", ("backup_missing", "backups")),  # a disk that is not mounted damages no backup
    ],
)
def test_a_backup_whose_manifest_is_not_its_own_is_named(
    lived: Service, how: str, named: tuple[str, str]
) -> None:
    take(lived)
    take(lived)
    place = lived.workspace.backups / manifest_name("b0002")
    other = (lived.workspace.backups / manifest_name("b0001")).read_bytes()
    if how == "no target":
        lived.workspace.backups.rename(lived.workspace.root / "gone")
    elif how == "no manifest":
        place.unlink()
    else:
        place.write_bytes(other)
    found = {(problem.kind, problem.path) for problem in inspect(lived.workspace, lived.state(), deep=True)}

    assert named in found
