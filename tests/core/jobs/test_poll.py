"""The way in: every byte is taken once, whole, and only when nobody writes any more."""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from core.files import sha256_of
from core.inspection import inspect
from core.jobs.arrange import arrange
from core.jobs.dispatch import answer
from core.jobs.poll import poll
from core.jobs.service import Service
from core.jobs.validate import validate
from events.types import (
    DriftFound,
    FileDuplicate,
    FileIgnored,
    FileReceived,
    FileRejected,
    FileRemoved,
    FileReopened,
    FileReprioritized,
    RequestRefused,
    RetryRequested,
)
from tests.core.jobs.work import drop, entry, facts, places, rows, take_in, train_one


def test_a_dropped_file_waits_in_its_queue_folder_byte_for_byte(service: Service) -> None:
    path = drop(service, "a.jsonl")
    text, inode = path.read_text(), path.stat().st_ino
    take_in(service)

    (received,) = facts(service, FileReceived)

    assert {"queue/normal/a.jsonl": text} == places(service)
    assert isinstance(received, FileReceived)
    assert (inode, len(text), "a.jsonl") == (received.source_inode, received.size_bytes, received.original)
    assert sha256_of(service.workspace.queue / "normal" / "a.jsonl") == received.sha256
    assert ("waiting", 40) == (entry(service, "a.jsonl").state, entry(service, "a.jsonl").rows)


def test_the_inbox_folders_set_the_priority_and_others_are_part_of_the_name(service: Service) -> None:
    for name in ("high/a.jsonl", "low/b.jsonl", "normal/c.jsonl", "other/high/d.jsonl", "high/deep/e.jsonl"):
        drop(service, name)
    take_in(service)

    expected = {"a": "high", "b": "low", "c": "normal", "d": "normal", "e": "high"}

    assert expected == {e.name[0]: e.priority for e in service.state().queue.entries.values()}
    assert {f"queue/{level}/{name}.jsonl" for name, level in expected.items()} == places(service).keys()


def test_the_same_name_with_other_bytes_gets_a_name_of_its_own(service: Service) -> None:
    drop(service, "a.jsonl", rows("first"))
    take_in(service)
    drop(service, "a.jsonl", rows("second"))
    drop(service, "deep/a.jsonl", rows("third"))
    take_in(service)

    assert {rows("first"), rows("second"), rows("third")} == set(places(service).values())
    assert 3 == len(places(service)) == len(service.state().queue.waiting)


def test_the_same_bytes_under_another_name_are_a_duplicate_with_a_report(service: Service) -> None:
    drop(service, "a.jsonl", rows("same"))
    take_in(service)
    drop(service, "b.jsonl", rows("same"))
    drop(service, "high/a.jsonl", rows("same"))
    take_in(service)

    names = {each.same_as for each in facts(service, FileDuplicate) if isinstance(each, FileDuplicate)}
    failed = sorted(p for p in places(service) if p.startswith("queue/failed/"))

    assert {"a.jsonl"} == names
    assert 2 == len(failed)
    assert 1 == len(service.state().queue.waiting)
    for path in failed:
        assert "the same bytes as a.jsonl" in (service.workspace.root / f"{path}.report.json").read_text()


@pytest.mark.parametrize("cut", ["first", "duplicate"])
def test_a_file_dropped_again_under_the_same_name_and_time_is_told_every_time(
    service: Service, cut: str
) -> None:
    """`cp -p` keeps the mtime, and a file system may give a freed inode out again."""
    for n in range(3 if cut == "duplicate" else 2):
        path = drop(service, "a.jsonl", rows("same"))
        os.utime(path, ns=(1_600_000_000_000_000_000, 1_600_000_000_000_000_000))
        take_in(service)
        assert n == len(facts(service, FileDuplicate))


def test_a_growing_file_is_never_taken_short(service: Service) -> None:
    path = service.workspace.inbox / "slow.jsonl"
    text = rows("slow", 60)
    done = threading.Event()

    def write() -> None:
        for start in range(0, len(text), len(text) // 12):
            with path.open("a", encoding="utf-8") as file:  # closed in between: nobody holds it open
                file.write(text[start : start + len(text) // 12])
            time.sleep(0.05)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        poll(service)
    writer.join()
    take_in(service)

    assert {"queue/normal/slow.jsonl": text} == places(service)
    assert 1 == len(facts(service, FileReceived))


def test_a_file_that_somebody_has_open_for_writing_is_left(service: Service) -> None:
    path = drop(service, "a.jsonl")
    with path.open("a", encoding="utf-8"):
        still = poll(service)
        during = facts(service, FileReceived)
    with path.open(encoding="utf-8"):  # a reader is no reason to wait
        poll(service)

    assert still
    assert [] == during
    assert 1 == len(facts(service, FileReceived))


def test_links_pipes_and_folders_stay_and_are_told_once(service: Service) -> None:
    secret = service.workspace.root.parent / "secret.jsonl"
    secret.write_text(rows("secret"))
    inbox = service.workspace.inbox
    (inbox / "link.jsonl").symlink_to(secret)
    (inbox / "dangling.jsonl").symlink_to(inbox / "nowhere")
    os.mkfifo(inbox / "pipe.jsonl")
    (inbox / "folder.jsonl").mkdir()
    for _ in range(3):
        take_in(service)

    ignored = [each for each in facts(service, FileIgnored) if isinstance(each, FileIgnored)]

    assert {"link.jsonl", "dangling.jsonl", "pipe.jsonl"} == {each.original for each in ignored}
    assert 3 == len(ignored)
    assert all(each.reason and each.remedy for each in ignored)
    assert [] == facts(service, FileReceived)
    assert {"link.jsonl", "dangling.jsonl", "pipe.jsonl", "folder.jsonl"} <= {p.name for p in inbox.iterdir()}


def test_a_link_to_a_folder_is_told_like_any_other(service: Service) -> None:
    (service.workspace.inbox / "data").symlink_to(service.workspace.root.parent)
    take_in(service)

    (ignored,) = facts(service, FileIgnored)

    assert isinstance(ignored, FileIgnored)
    assert ("data", "a symbolic link") == (ignored.original, ignored.reason)


def test_a_file_named_like_a_report_is_never_replaced_by_one(service: Service) -> None:
    drop(service, "a.jsonl.report.json", "mine\n")
    take_in(service)
    drop(service, "a.jsonl", "no json\n")
    take_in(service)
    failed = service.workspace.queue / "failed"

    assert {"mine\n", "no json\n"} == set(places(service).values())
    assert "a.jsonl" == json.loads((failed / "a.jsonl.report.json").read_text())["file"]
    assert [] == inspect(service.workspace, service.state(), deep=True)


def test_half_a_copy_in_a_hidden_folder_is_nobodys_business(service: Service) -> None:
    drop(service, ".rsync-partial/a.jsonl")
    drop(service, "deep/.git/b.jsonl")
    take_in(service)

    assert [] == facts(service, FileReceived, FileIgnored)


def test_hidden_files_are_nobodys_business(service: Service) -> None:
    drop(service, ".a.jsonl.partial")
    take_in(service)

    assert [] == facts(service, FileReceived, FileIgnored)


@pytest.mark.parametrize(
    "name", ["späte Größe 🤔.jsonl", "a\nb.jsonl", "-rf.jsonl", "no ending", "a'\"b.jsonl"]
)
def test_any_name_can_be_taken_in(service: Service, name: str) -> None:
    drop(service, name, rows("x"))
    take_in(service)

    assert [rows("x")] == list(places(service).values())
    assert all(c.isprintable() for e in service.state().queue.entries.values() for c in e.name)


def test_a_name_that_is_no_utf8_can_be_taken_in(service: Service) -> None:
    raw = os.fsencode(service.workspace.inbox) + b"/caf\xe9.jsonl"
    Path(os.fsdecode(raw)).write_text(rows("x"))
    take_in(service)

    assert [rows("x")] == list(places(service).values())


def test_an_empty_file_and_rubbish_are_rejected_with_a_report(service: Service) -> None:
    drop(service, "empty.jsonl", "")
    drop(service, "rubbish.jsonl", "this is\nno json\n")
    take_in(service)

    assert 2 == len(facts(service, FileRejected))
    for name in ("empty.jsonl", "rubbish.jsonl"):
        report = (service.workspace.queue / "failed" / f"{name}.report.json").read_text()
        assert '"reason": "' in report
        assert f"evertrain queue retry {name}" in report


# -- by hand ---------------------------------------------------------------------------------------


def test_a_file_moved_between_queue_folders_is_reprioritised(service: Service) -> None:
    drop(service, "a.jsonl")
    take_in(service)
    queue = service.workspace.queue
    (queue / "normal" / "a.jsonl").rename(queue / "high" / "a.jsonl")
    take_in(service)

    (moved,) = facts(service, FileReprioritized)

    assert isinstance(moved, FileReprioritized)
    assert ("high", True) == (moved.priority, moved.by_hand)
    assert "waiting" == entry(service, "a.jsonl").state
    assert ["queue/high/a.jsonl"] == list(places(service))
    assert [] == facts(service, FileRemoved, FileDuplicate, DriftFound)


def test_a_file_renamed_in_its_own_folder_keeps_its_turn(service: Service) -> None:
    drop(service, "a.jsonl")
    take_in(service)
    queue = service.workspace.queue
    (queue / "normal" / "a.jsonl").rename(queue / "normal" / "renamed.jsonl")
    take_in(service)

    assert "waiting" == entry(service, "a.jsonl").state
    assert 1 == len(places(service))
    assert [] == facts(service, FileRemoved, FileDuplicate, FileReprioritized)


def test_a_file_that_had_ended_and_is_moved_back_is_taken_in_again(service: Service) -> None:
    drop(service, "bad.jsonl", "no json\n")
    take_in(service)
    queue = service.workspace.queue
    (queue / "failed" / "bad.jsonl").rename(queue / "low" / "bad.jsonl")
    take_in(service)

    (reopened,) = facts(service, FileReopened)

    assert isinstance(reopened, FileReopened)
    assert ("low", True) == (reopened.priority, reopened.by_hand)
    assert 2 == len(facts(service, FileRejected))
    assert ["queue/failed/bad.jsonl"] == list(places(service))


def test_a_new_file_put_straight_into_a_queue_folder_has_that_priority(service: Service) -> None:
    (service.workspace.queue / "high" / "hand.jsonl").write_text(rows("hand"))
    take_in(service)

    (received,) = facts(service, FileReceived)

    assert isinstance(received, FileReceived)
    assert received.by_hand
    assert "high" == entry(service, "hand.jsonl").priority
    assert {"queue/high/hand.jsonl": rows("hand")} == places(service)
    assert [] == facts(service, FileDuplicate)


def test_a_waiting_file_that_was_deleted_leaves_the_queue_visibly(service: Service) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        drop(service, name)
    take_in(service)
    (service.workspace.queue / "normal" / "a.jsonl").unlink()
    take_in(service)

    assert "removed" == entry(service, "a.jsonl").state
    assert ["b.jsonl"] == [service.state().queue.entries[key].name for key in service.state().queue.waiting]
    assert ["file_missing"] == [
        each.kind for each in facts(service, DriftFound) if isinstance(each, DriftFound)
    ]
    assert [] == inspect(service.workspace, service.state(), deep=True)


def test_a_lost_file_cannot_be_retried_until_its_bytes_are_there_again(service: Service) -> None:
    drop(service, "a.jsonl")
    take_in(service)
    (service.workspace.queue / "normal" / "a.jsonl").unlink()
    take_in(service)
    service.log.append(RetryRequested(sha256=entry(service, "a.jsonl").sha256))
    answer(service)

    (refused,) = facts(service, RequestRefused)
    assert isinstance(refused, RequestRefused)
    assert "drop the file again" in refused.reason
    assert "removed" == entry(service, "a.jsonl").state


def test_a_file_deleted_before_its_check_leaves_the_queue_without_an_error(service: Service) -> None:
    drop(service, "a.jsonl")
    poll(service)
    arrange(service)
    (service.workspace.queue / "normal" / "a.jsonl").unlink()
    validate(service)
    take_in(service)

    assert "removed" == entry(service, "a.jsonl").state


def test_a_deleted_file_that_is_dropped_again_is_taken_in_as_the_told_remedy_says(service: Service) -> None:
    drop(service, "a.jsonl")
    take_in(service)
    (service.workspace.queue / "normal" / "a.jsonl").unlink()
    take_in(service)
    drop(service, "high/a.jsonl", rows("a.jsonl"))
    take_in(service)

    assert ("waiting", "high") == (entry(service, "a.jsonl").state, entry(service, "a.jsonl").priority)
    assert {"queue/high/a.jsonl": rows("a.jsonl")} == places(service)
    assert [] == facts(service, FileDuplicate)


def test_a_trained_file_that_was_cleared_away_and_is_dropped_again_is_a_duplicate(service: Service) -> None:
    drop(service, "a.jsonl")
    take_in(service)
    train_one(service)
    (service.workspace.queue / "recently_completed" / "a.jsonl").unlink()
    drop(service, "a.jsonl")
    take_in(service)

    assert "completed" == entry(service, "a.jsonl").state
    assert 1 == len(facts(service, FileDuplicate))


def test_a_removed_file_that_comes_back_can_be_retried(service: Service) -> None:
    drop(service, "a.jsonl")
    take_in(service)
    key = entry(service, "a.jsonl").sha256
    service.log.append(FileRemoved(sha256=key, reason="asked"))
    arrange(service)
    service.log.append(
        FileReopened(sha256=key, priority="high", request=service.log.append(RetryRequested(sha256=key))[0])
    )
    take_in(service)

    assert "waiting" == entry(service, "a.jsonl").state
    assert ["queue/high/a.jsonl"] == list(places(service))
    assert [] == list((service.workspace.queue / "failed").iterdir())


def test_a_removed_inbox_folder_comes_back(service: Service) -> None:
    for folder in sorted(service.workspace.inbox.iterdir()):
        folder.rmdir()
    service.workspace.inbox.rmdir()
    poll(service)
    drop(service, "a.jsonl")
    take_in(service)

    assert ["queue/normal/a.jsonl"] == list(places(service))
