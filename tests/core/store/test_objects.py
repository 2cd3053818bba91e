"""The store: whole or not there, on a folder and on fsspec alike; a kill leaves no half object."""

import hashlib
import os
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from core.store.manifest import LOG, Entry, Manifest
from core.store.objects import ObjectDamaged, Store, object_name
from core.store.places import Changed, StoreFailed
from tests.core.damage import change_a_byte
from tests.core.store.test_manifest import MANIFEST
from tests.sweep import killed_at_every_step


@pytest.fixture(params=["folder", "file", "memory"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    where = {"folder": "store", "file": f"file://{tmp_path}/a store", "memory": f"memory://{uuid.uuid4()}/s"}
    return where[str(request.param)]


@pytest.fixture
def store(target: str, tmp_path: Path) -> Store:
    return Store.at(target, tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], tuple[Path, str]]:
    """A file of this content, and its hash."""

    def make(content: str) -> tuple[Path, str]:
        path = tmp_path / "files" / content
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        return path, hashlib.sha256(content.encode()).hexdigest()

    return make


class Ended(Exception):
    """Somebody asked for the end."""


Maker = Callable[[str], tuple[Path, str]]


def holding(backup: str, *files: tuple[Path, str]) -> Manifest:
    """A manifest of these files."""
    entries = {
        path.name: Entry(sha256=sha, size_bytes=path.stat().st_size, mode=0o600) for path, sha in files
    }
    return replace(MANIFEST, id=backup, files={LOG: entries[files[0][0].name], **entries})


def test_what_is_put_comes_back_and_is_checked(store: Store, file: Maker, tmp_path: Path) -> None:
    path, sha = file("content")
    before = store.problem(sha, 7)
    store.put(sha, path)
    store.fetch(sha, tmp_path / "back", 0o640)

    assert "is missing" == before
    assert store.problem(sha, 7) is None
    assert "has another size than was written" == store.problem(sha, 8)
    assert store.has(sha, 7) and not store.has(sha, 8)
    assert b"content" == (tmp_path / "back").read_bytes()
    assert 0o600 == (tmp_path / "back").stat().st_mode & 0o777


def test_other_bytes_than_promised_never_become_an_object(store: Store, file: Maker) -> None:
    path, _ = file("content")
    _, sha = file("another")
    with pytest.raises(Changed):
        store.put(sha, path)

    assert not store.has(sha, 7)
    assert [] == store.where.names("objects")


def test_work_that_should_end_ends_with_its_own_error(store: Store, file: Maker) -> None:
    path, sha = file("content")

    def end() -> None:
        raise Ended

    with pytest.raises(Ended):
        store.put(sha, path, end)
    put = store.has(sha, 7)
    store.put(sha, path)
    with pytest.raises(Ended):
        store.fetch(sha, path.with_name("back"), 0o600, end)

    assert not put


def test_an_upload_that_should_end_ends_with_its_own_error(tmp_path: Path, file: Maker) -> None:
    path, sha = file("content")
    store, steps = Store.at(f"memory://{uuid.uuid4()}/s", tmp_path), []

    def end() -> None:
        steps.append("read" if not steps else "written")
        if steps[-1] == "written":
            raise Ended

    with pytest.raises(Ended):
        store.put(sha, path, end)

    assert ["read", "written"] == steps


def test_nothing_is_fetched_over_what_is_there_nor_through_a_link(
    store: Store, file: Maker, tmp_path: Path
) -> None:
    path, sha = file("content")
    store.put(sha, path)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("link", "files/content"):
        with pytest.raises(FileExistsError):
            store.fetch(sha, tmp_path / name, 0o600)

    assert not (tmp_path / "elsewhere").exists()


def test_a_missing_object_says_so(store: Store, tmp_path: Path) -> None:
    with pytest.raises(ObjectDamaged, match="is missing"):
        store.fetch(hashlib.sha256().hexdigest(), tmp_path / "back", 0o600)


def test_only_what_nothing_names_is_swept(store: Store, file: Maker) -> None:
    one, two, three, four = (file(name) for name in ("one", "two", "three", "four"))
    for path, sha in (one, two, three, four):
        store.put(sha, path)
    store.complete(holding("b0001", one, two))
    store.complete(holding("b0002", two))
    store.plan(holding("b0003", three))
    listed = sorted(store.backups())
    first = store.sweep()
    store.drop("b0001")
    second = store.sweep()

    assert ["b0001", "b0002"] == listed
    assert (4, 3) == (first, second)
    assert [store.has(sha, path.stat().st_size) for path, sha in (one, two, three, four)] == [
        False, True, True, False,
    ]  # fmt: skip


def test_an_unknown_kind_of_url_and_a_package_that_is_missing_are_told(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="nosuch"):
        Store.at("nosuch://bucket/store", tmp_path)


def test_a_kill_at_any_step_leaves_whole_objects_and_the_old_backup(tmp_path: Path, file: Maker) -> None:
    one, two = file("one"), file("two")

    def prepare(n: int) -> Path:
        root = tmp_path / f"trial {n}"
        store = Store.at("store", root)
        store.put(one[1], one[0])
        store.complete(holding("b0001", one))
        return root

    def work(root: Path) -> None:
        store = Store.at("store", root)
        store.plan(holding("b0002", one, two))
        store.put(two[1], two[0])
        store.complete(holding("b0002", one, two))
        store.drop("b0001")
        store.sweep()

    trials = 0
    for root in killed_at_every_step(prepare, work):
        trials += 1
        store = Store.at("store", root)
        for backup in store.backups():
            for sha, size in store.manifest(backup).objects.items():
                assert store.problem(sha, size) is None
        assert store.backups()
        work(root)
        left = {path.relative_to(root / "store").as_posix() for path in root.rglob("*") if path.is_file()}
        assert {object_name(one[1]), object_name(two[1]), "backups/b0002.json"} == left

    assert trials >= 10


def test_damage_to_a_live_file_does_not_reach_the_store(tmp_path: Path, file: Maker) -> None:
    path, sha = file("content")
    store = Store.at("store", tmp_path)
    store.put(sha, path)
    with path.open("r+b") as live:
        live.write(b"X")
    change_a_byte(path)

    assert store.problem(sha, 7) is None
    assert 1 == os.stat(tmp_path / "store" / object_name(sha)).st_nlink
