"""Files: whole or not at all, and nothing is ever replaced by a move."""

import os
import threading
from pathlib import Path

import pytest

from core import files
from core.files import (
    NotTakeable,
    StillChanging,
    copy_hashed,
    link_or_copy,
    look,
    move,
    open_for_writing,
    printable,
    sha256_of,
    write_atomic,
)


def test_a_copy_has_the_bytes_and_the_hash_of_its_source(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(os.urandom(files.CHUNK + 12345))
    copied = copy_hashed(source, target)

    assert source.read_bytes() == target.read_bytes()
    assert sha256_of(source) == copied.sha256
    assert look(source) == copied.look
    assert 0o600 == target.stat().st_mode & 0o777


def test_a_source_that_changes_under_the_copy_is_not_taken(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "b"
    source.write_bytes(b"x" * (4 * files.CHUNK))
    began, ended = threading.Event(), threading.Event()

    def grow() -> None:
        while not ended.is_set():
            with source.open("ab", buffering=0) as file:
                file.write(b"more")
            began.set()

    writer = threading.Thread(target=grow)
    writer.start()
    began.wait(10)
    with pytest.raises(StillChanging):
        copy_hashed(source, target)
    ended.set()
    writer.join()

    assert not target.exists()


def test_links_and_other_things_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")

    for name in ("link", "pipe"):
        with pytest.raises(NotTakeable):
            look(tmp_path / name)
    with pytest.raises(NotTakeable):
        copy_hashed(tmp_path / "pipe", tmp_path / "copy")
    with pytest.raises(OSError, match="symbolic links"):
        copy_hashed(tmp_path / "link", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_writers_are_seen_and_readers_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("x")
    seen = look(path)
    with path.open():
        reading = open_for_writing([seen])
    with path.open("a"):
        appending = open_for_writing([seen])
    with path.open("r+"):
        both = open_for_writing([seen])

    assert [set(), {seen}, {seen}, set()] == [reading, appending, both, open_for_writing([seen])]


def test_a_move_never_replaces_anything(tmp_path: Path) -> None:
    source, target = tmp_path / "a", tmp_path / "deep" / "b"
    source.write_text("ours")
    move(source, target)
    (tmp_path / "c").write_text("other")
    with pytest.raises(FileExistsError):
        move(tmp_path / "c", target)

    assert not source.exists()
    assert ("ours", "other") == (target.read_text(), (tmp_path / "c").read_text())


def test_a_written_file_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_atomic(path, b"old")
    with path.open("rb") as held:
        write_atomic(path, b"new", durable=False)
        old = held.read()

    assert (b"old", b"new") == (old, path.read_bytes())
    assert [path] == list(tmp_path.iterdir())


def test_a_link_is_made_where_it_can_be_and_never_over_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    link_or_copy(tmp_path / "a", tmp_path / "b")

    assert (tmp_path / "a").samefile(tmp_path / "b")
    with pytest.raises(FileExistsError):
        link_or_copy(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.jsonl", "a.jsonl"),
        ("Größe 🤔", "Größe 🤔"),
        ("a\nb", "a\\nb"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
        ("a\u202eb", "a\\u202eb"),
    ],
)
def test_names_become_printable_text(name: str, expected: str) -> None:
    assert expected == printable(name)
    assert expected.encode()
