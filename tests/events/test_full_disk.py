"""The log on a full disk: every fact or none, with the reserve first, then waiting or a clear error."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from db.reserve import LogFull, Reserve
from db.workspace import Workspace
from events.log import Log
from events.types import AlertRaised, Event
from events.verify import verify_log
from tests.small_disk import SmallDisk

SIZE = 16 << 20
SECONDS = 20.0


@pytest.fixture
def disk(small_disk: Callable[[int], SmallDisk]) -> SmallDisk:
    return small_disk(SIZE)


@pytest.fixture
def place(disk: SmallDisk) -> Workspace:
    workspace = Workspace(disk.root / "workspace")
    workspace.lay_out()
    return workspace


@pytest.fixture
def log(place: Workspace) -> Iterator[Log]:
    opened = Log(place.log, "daemon", create=True)
    yield opened
    opened.close()


def fact(n: int) -> Event:
    return AlertRaised(severity="info", type="test", detail=f"fact {n}")


def told(log: Log) -> list[str]:
    return [each.event.detail for each in log.read() if isinstance(each.event, AlertRaised)]


def fill_up(log: Log, begin: int = 0) -> int:
    """Append until it is full; how many got in, all told."""
    n = begin
    while True:
        try:
            log.append(fact(n))
        except LogFull:
            return n
        n += 1


def test_with_no_byte_free_the_reserve_takes_hundreds_of_facts_and_then_none_in_part(
    disk: SmallDisk, place: Workspace, log: Log
) -> None:
    reserve = Reserve(place.reserve)
    reserve.keep()
    log.append(fact(0))
    disk.fill()
    taken = fill_up(log, 1)

    assert taken > 500
    assert not reserve.path.exists()
    assert [f"fact {n}" for n in range(taken)] == told(log)
    assert () == verify_log(log.reader).problems


def test_when_there_is_space_again_it_goes_on_where_it_was(disk: SmallDisk, log: Log) -> None:
    log.append(fact(0))
    disk.fill()
    taken = fill_up(log, 1)
    with pytest.raises(LogFull, match="make space"):
        log.append(fact(taken), fact(taken + 1))
    disk.relieve()
    log.append(fact(taken))

    assert [f"fact {n}" for n in range(taken + 1)] == told(log)
    assert () == verify_log(log.reader).problems


def test_where_patience_is_set_the_append_waits_for_the_space(disk: SmallDisk, log: Log) -> None:
    disk.fill()
    fill_up(log)
    stop = threading.Event()
    log.room.patience = lambda: not stop.wait(0.05)
    before = len(told(log))
    waiting = threading.Thread(target=lambda: log.append(fact(before)))
    waiting.start()
    deadline = time.monotonic() + SECONDS
    while not log.room.is_waiting:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    disk.relieve()
    waiting.join(SECONDS)

    assert f"fact {before}" == told(log)[-1]
    assert not log.room.is_waiting


def test_the_reserve_may_be_given_back_by_another_just_when_an_append_has_failed(
    disk: SmallDisk, place: Workspace, log: Log
) -> None:
    reserve = Reserve(place.reserve)
    assert reserve.keep()
    disk.fill()
    failed = 0

    def write() -> int:
        nonlocal failed
        try:
            return (place.root / "more").write_bytes(bytes(4096))
        except OSError:
            failed += 1
            if failed == 2:  # a heartbeat of the same process, say, that failed at the same moment
                assert reserve.release()
            raise

    assert 4096 == log.room.make(write)
    assert 2 == failed


def test_an_append_that_is_told_to_stop_waiting_writes_nothing(disk: SmallDisk, log: Log) -> None:
    disk.fill()
    head = fill_up(log)
    log.room.patience = lambda: False

    with pytest.raises(LogFull):
        log.append(fact(head))
    assert head == log.head()


def test_heartbeats_go_on_with_no_byte_free(disk: SmallDisk, place: Workspace, log: Log) -> None:
    Reserve(place.reserve).keep()
    log.beat("daemon", 1, "idle")
    disk.fill()
    for n in range(2000):
        log.beat("daemon", n, "idle")

    assert 1999 == log.heartbeats()["daemon"]["pid"]


def test_with_no_byte_free_it_can_be_opened_read_and_written_by_whoever_comes(
    disk: SmallDisk, place: Workspace
) -> None:
    Reserve(place.reserve).keep()
    log = Log(place.log, "daemon", create=True)
    log.append(fact(0))
    log.close()
    disk.fill()
    later = Log(place.log, "cli")
    later.append(fact(1))
    found = told(later)
    later.close()

    assert ["fact 0", "fact 1"] == found


def test_after_the_disk_was_full_the_log_is_as_quick_as_before(
    disk: SmallDisk, place: Workspace, log: Log
) -> None:
    def pages() -> int:
        return int(log._write.execute("PRAGMA wal_autocheckpoint").fetchone()[0])

    usual = pages()
    disk.fill()
    taken = fill_up(log)
    tight = pages()
    disk.relieve()
    Reserve(place.reserve).keep()
    log.append(fact(taken))

    assert tight < usual == pages()
