"""What is damaged or missing stays out of a backup, visibly; what is damaged in the store is written anew."""

import shutil
import threading
from pathlib import Path

import pytest

from core.inspection import inspect
from core.jobs.backup import backup
from core.jobs.reconcile import reconcile
from core.jobs.service import Service
from core.jobs.storing import TRIES
from core.jobs.validate import Interrupted
from core.store.objects import object_name
from events.types import BackupRequested, CheckpointQuarantined, DriftCleared, DriftFound
from tests.core.damage import change_a_byte
from tests.core.jobs.test_backup import lived, store_of, take
from tests.core.jobs.work import drop, facts, take_in, train_one

__all__ = ["lived"]


class WhenThere(threading.Event):
    """The service is told to stop once this file exists."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def is_set(self) -> bool:
        return self._path.exists()


@pytest.mark.parametrize("crash", [False, True])
def test_a_damaged_object_is_written_anew_though_a_version_is_damaged_too(
    lived: Service, crash: bool
) -> None:
    """`crash`: after the manifest was placed, so that it is all that is left of the packing."""
    train_one(lived)
    take(lived)
    sha256 = lived.state().versions.versions["v0002"].weights_sha256
    change_a_byte(lived.workspace.backups / object_name(sha256))
    shutil.rmtree(lived.workspace.root / "models/versions/v0001")
    lived.log.append(BackupRequested())
    if crash:
        lived.stop = WhenThere(lived.workspace.backups / "backups" / "b0002.json")
        with pytest.raises(Interrupted):
            backup(lived)
        lived.stop = threading.Event()
    head = lived.log.head()
    backup(lived)
    newest = lived.state().storage.backups_in()[-1]
    packed = [fact for fact in lived.log.read(head) if isinstance(fact.event, DriftFound)]

    assert ("b0002", "verified", ("v0002",)) == (newest.id, newest.state, newest.versions)
    assert (0 if crash else 1) == len(packed)
    assert store_of(lived).problem(sha256, store_of(lived).manifest("b0002").objects[sha256]) is None


def test_a_damaged_object_is_written_anew_by_the_next_backup(lived: Service) -> None:
    take(lived)
    store = store_of(lived)
    sha256 = store.manifest("b0001").files["models/versions/v0001/model.safetensors"].sha256
    change_a_byte(lived.workspace.backups / object_name(sha256))
    found = {problem.path for problem in inspect(lived.workspace, lived.state(), deep=True)}
    take(lived)

    assert {f"backups/{object_name(sha256)}"} == found
    assert [] == inspect(lived.workspace, lived.state(), deep=True)


@pytest.mark.parametrize(
    ("damaged", "owner"),
    [
        ("models/versions/v0001/manifest.json", "models/versions/v0001"),
        ("queue/failed/bad.jsonl", "queue/failed/bad.jsonl"),
    ],
)
def test_what_is_damaged_stays_out_and_is_told_and_the_rest_is_kept(
    lived: Service, damaged: str, owner: str
) -> None:
    train_one(lived)
    change_a_byte(lived.workspace.root / damaged)
    name = take(lived)
    take(lived)
    held = store_of(lived).manifest(name)

    (drift,) = facts(lived, DriftFound)

    assert isinstance(drift, DriftFound)
    assert owner == drift.path
    assert not any(file.startswith(owner) for file in held.files)
    assert "v0002" == held.versions[-1]


@pytest.mark.parametrize("what", ["models/versions/v0001", "models/current_model/checkpoint-14"])
def test_what_is_missing_is_told_as_the_hourly_look_tells_it_and_counts_again_when_it_is_back(
    lived: Service, tmp_path: Path, what: str
) -> None:
    train_one(lived)
    place = lived.workspace.root / what
    place.rename(tmp_path / "elsewhere")
    name = take(lived)
    reconcile(lived, settle=0, hour=0)
    told = facts(lived, DriftFound, DriftCleared, CheckpointQuarantined)
    (tmp_path / "elsewhere").rename(place)
    reconcile(lived, settle=0, hour=0)
    whole = take(lived)
    held = [store_of(lived).manifest(one).files.keys() for one in (name, whole)]

    (drift,) = told
    assert isinstance(drift, DriftFound)
    assert what == drift.path
    assert ("version_missing" if "version" in what else "checkpoint_missing") == drift.kind
    assert [False, True] == [f"{what}/manifest.json" in files for files in held]
    assert () == lived.state().health.drifts
    assert [] == facts(lived, CheckpointQuarantined)


def test_a_damaged_resume_point_is_quarantined_and_an_older_one_is_taken(lived: Service) -> None:
    train_one(lived)
    point = "models/current_model/checkpoint-14"
    (lived.workspace.root / point / "model.safetensors").unlink()
    name = take(lived)
    told = facts(lived, DriftFound, CheckpointQuarantined)

    assert [(point, "DriftFound"), (point, "CheckpointQuarantined")] == [
        (getattr(fact, "path", None), type(fact).__name__) for fact in told
    ]
    assert ("models/current_model/checkpoint-7",) == store_of(lived).manifest(name).checkpoints


def test_however_much_is_damaged_the_rest_is_backed_up(lived: Service) -> None:
    for n in range(TRIES + 1):
        drop(lived, f"more{n}.jsonl")
        take_in(lived)
        train_one(lived)
    *most, last = lived.state().versions
    for version in most:
        change_a_byte(lived.workspace.root / version.path / "manifest.json")
    lived.log.append(BackupRequested())
    backup(lived)
    state = lived.state()
    (one,) = state.storage.backups_in()

    assert len(most) > TRIES
    assert ("verified", (last.id,)) == (one.state, one.versions)
    assert [version.path for version in most] == sorted(drift.path for drift in state.health.drifts)
