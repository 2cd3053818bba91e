"""A crash after each step of the way in: the disk as it was left, then a new daemon."""

import os
from pathlib import Path

import pytest

from core.files import sha256_of
from core.jobs.arrange import arrange, sweep
from core.jobs.poll import poll
from core.jobs.service import Service
from events.types import (
    FileDuplicate,
    FilePlaced,
    FileQueued,
    FileReceived,
)
from tests.core.jobs.work import drop, facts, places, restart, rows, take_in


def received(service: Service, path: Path, name: str) -> FileReceived:
    status = path.stat()
    return FileReceived(
        sha256=sha256_of(path), name=name, original=name, priority="normal", size_bytes=status.st_size,
        source_inode=status.st_ino, source_mtime_ns=status.st_mtime_ns,
    )  # fmt: skip


STEPS = ["half copied", "copied", "renamed", "received", "source gone", "linked", "moved", "placed"]


@pytest.mark.parametrize("crash", STEPS)
def test_a_crash_at_any_step_loses_nothing_and_doubles_nothing(service: Service, crash: str) -> None:
    source = drop(service, "a.jsonl")
    text = source.read_text()
    fact = received(service, source, "a.jsonl")
    arriving = service.workspace.queue / ".arriving"
    target = service.workspace.queue / "normal" / "a.jsonl"
    arriving.mkdir()
    done = STEPS[: STEPS.index(crash) + 1]
    copy = arriving / "copying"
    if "half copied" in done:
        copy.write_text(text[: len(text) // 2])
    if "copied" in done:
        copy.write_text(text)
    if "renamed" in done:
        copy = copy.rename(arriving / fact.sha256)
    if "received" in done:
        service.log.append(fact)
    if "source gone" in done:
        source.unlink()
    if "linked" in done:
        os.link(copy, target)
    if "moved" in done:
        copy.unlink()
    if "placed" in done:
        service.log.append(FilePlaced(sha256=fact.sha256, path="queue/normal/a.jsonl"))

    fresh = restart(service)
    take_in(fresh)

    assert {"queue/normal/a.jsonl": text} == places(fresh)
    assert [1, 0, 1] == [len(facts(fresh, kind)) for kind in (FileReceived, FileDuplicate, FileQueued)]
    assert [fact.sha256] == list(fresh.state().queue.waiting)


@pytest.mark.parametrize("crash", ["renamed", "told", "source gone", "linked", "moved"])
def test_a_crash_while_a_duplicate_is_set_aside_keeps_both(service: Service, crash: str) -> None:
    drop(service, "a.jsonl", rows("same"))
    take_in(service)
    source = drop(service, "b.jsonl", rows("same"))
    status = source.stat()
    fact = FileDuplicate(
        sha256=sha256_of(source), name="b.jsonl", original="b.jsonl", same_as="a.jsonl",
        size_bytes=status.st_size, source_inode=status.st_ino, source_mtime_ns=status.st_mtime_ns,
    )  # fmt: skip
    steps = ["renamed", "told", "source gone", "linked", "moved"]
    done = steps[: steps.index(crash) + 1]
    copy = service.workspace.queue / ".arriving" / f"{fact.sha256}-{status.st_ino}-{status.st_mtime_ns}"
    target = service.workspace.queue / "failed" / "b.jsonl"
    copy.write_text(rows("same"))
    if "told" in done:
        service.log.append(fact)
    if "source gone" in done:
        source.unlink()
    if "linked" in done:
        os.link(copy, target)
    if "moved" in done:
        copy.unlink()

    fresh = restart(service)
    take_in(fresh)

    assert {"queue/normal/a.jsonl": rows("same"), "queue/failed/b.jsonl": rows("same")} == places(fresh)
    assert 1 == len(facts(fresh, FileDuplicate))


def test_copies_that_no_fact_speaks_of_are_swept_and_their_source_is_taken(service: Service) -> None:
    arriving = service.workspace.queue / ".arriving"
    arriving.mkdir()
    (arriving / "copying").write_text("half")
    (arriving / ("0" * 64)).write_text("nobody's")
    sweep(service)

    assert [] == list(arriving.iterdir())


def test_a_stranger_on_the_files_place_is_never_overwritten(service: Service) -> None:
    drop(service, "a.jsonl", rows("ours"))
    poll(service)
    stranger = service.workspace.queue / "normal" / "a.jsonl"
    stranger.write_text(rows("stranger"))
    arrange(service)
    take_in(service)

    assert sorted([rows("ours"), rows("stranger")]) == sorted(places(service).values())
    assert 2 == len(service.state().queue.waiting)
