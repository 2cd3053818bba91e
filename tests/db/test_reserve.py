"""The reserve: really there, given back at once, and one word for every way of being full."""

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from db import reserve
from db.engine import driver
from db.processes import RoleLock, holder
from db.reserve import LEAST, MOST, SHARE, LogFull, NoRoom, Reserve, is_full
from tests.small_disk import SmallDisk

MakeDisk = Callable[[int], SmallDisk]


def test_it_takes_real_space_and_gives_it_back(small_disk: MakeDisk) -> None:
    disk = small_disk(32 << 20)
    reserve, before = Reserve(disk.root / "own" / "reserve"), disk.free
    made = reserve.keep()
    during = disk.free
    again = reserve.keep()
    released = reserve.release(), reserve.release()

    assert (True, True, (True, False)) == (made, again, released)
    assert LEAST <= before - during < LEAST + 65536
    assert disk.free > before - 65536
    assert [] == list((disk.root / "own").iterdir())


def test_a_large_disk_gives_a_little_and_a_small_one_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    for total in (0, int(2 * LEAST / SHARE), 10**13):
        usage = type("usage", (), {"total": total, "free": 0})
        monkeypatch.setattr("db.reserve.shutil.disk_usage", lambda path, usage=usage: usage)
        sizes.append(Reserve(tmp_path / "reserve").size)

    assert [LEAST, 2 * LEAST, MOST] == sizes


def test_where_it_would_take_the_last_space_it_is_not_made_and_others_leave_room_for_it(
    small_disk: MakeDisk,
) -> None:
    disk = small_disk(32 << 20)
    disk.fill(leave=LEAST + LEAST // 2)
    reserve = Reserve(disk.root / "reserve")
    made = reserve.keep()
    without = reserve.missing
    disk.relieve()

    assert (False, LEAST) == (made, without)
    assert (True, 0) == (reserve.keep(), reserve.missing)


def test_whoever_finds_it_gone_finds_its_space(
    small_disk: MakeDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is gone before its bytes are free: whoever came in between was refused, with room on the way."""
    monkeypatch.setattr(reserve, "LEAST", 256 << 20)  # large, so that to free it takes a while
    monkeypatch.setattr(reserve, "MOST", 256 << 20)
    disk = small_disk(560 << 20)
    ours, theirs = Reserve(disk.root / "reserve"), Reserve(disk.root / "reserve")
    assert ours.keep()
    disk.fill()

    with ThreadPoolExecutor(1) as other:
        released = other.submit(theirs.release)
        while ours.release():
            pass
        free = disk.free

    released.result()
    assert free >= 256 << 20


def test_one_that_was_being_given_back_when_its_process_died_is_made_anew(small_disk: MakeDisk) -> None:
    disk = small_disk(64 << 20)
    kept = Reserve(disk.root / "reserve")
    kept.path.touch()  # emptied, and not yet removed

    assert kept.missing == kept.size
    assert kept.keep() and kept.size == kept.path.stat().st_size and not kept.missing


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_no_space_no_quota_and_too_large_are_one_thing(number: int) -> None:
    assert is_full(OSError(number, os.strerror(number)))
    assert not is_full(OSError(errno.EIO, "broken"))
    assert is_full(LogFull(Path("log")))
    assert is_full(NoRoom("it needs more"))


def test_sqlite_says_it_in_its_own_words() -> None:
    connection = driver().connect(":memory:")
    connection.execute("PRAGMA max_page_count=2")
    connection.execute("CREATE TABLE t (x)")
    with pytest.raises(driver().OperationalError) as full:
        connection.execute("INSERT INTO t VALUES (zeroblob(100000))")
    with pytest.raises(driver().OperationalError) as wrong:
        connection.execute("no SQL at all")
    connection.close()

    assert is_full(full.value)
    assert not is_full(wrong.value)


def test_a_role_can_be_taken_with_no_byte_free(small_disk: MakeDisk) -> None:
    disk = small_disk(4 << 20)
    disk.fill()
    with RoleLock(disk.root / "locks", "daemon").acquire():
        held = holder(disk.root / "locks", "daemon")

    assert held is not None
    assert holder(disk.root / "locks", "daemon") is None
