"""The daemon's progress: it moves only as its slowest job does."""

import os
import threading
from pathlib import Path

from core.files import CHUNK, sha256_of
from core.jobs.progress import Progress
from core.jobs.samples import beat
from core.jobs.service import Service
from core.jobs.table import Job, run


def stuck(progress: Progress, phase: str) -> tuple[threading.Event, threading.Thread]:
    """A job that stands still until it is let go."""
    begun, release = threading.Event(), threading.Event()

    def work() -> None:
        with progress.job(phase):
            begun.set()
            release.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(60)
    return release, thread


def test_a_job_that_stands_still_is_not_hidden_by_those_that_move() -> None:
    progress = Progress()
    release, thread = stuck(progress, "save")
    seen = set()
    for _ in range(10):
        with progress.job("tokenize"):
            progress.moved()
            seen.add(progress.slowest()[1])
    release.set()
    thread.join()

    assert 1 == len(seen)
    assert seen.isdisjoint({progress.slowest()[1]})


def test_with_nothing_to_do_every_look_is_a_move() -> None:
    progress = Progress()
    looks = [progress.slowest() for _ in range(5)]

    assert {"idle"} == {phase for phase, _ in looks}
    assert 5 == len({move for _, move in looks})


def test_bytes_that_are_read_are_moves(tmp_path: Path) -> None:
    progress = Progress()
    (tmp_path / "file").write_bytes(bytes(3 * CHUNK))
    with progress.job("save"):
        before = progress.slowest()[1]
        sha256_of(tmp_path / "file")

        assert before + 3 < progress.slowest()[1]


def test_the_daemons_beat_says_so(service: Service) -> None:
    seen = []

    def look(service: Service) -> None:
        for _ in range(3):
            beat(service)
            seen.append(service.log.heartbeats()["daemon"])
            service.progress.moved()

    run(service, Job("look", 1.0, look))
    progress = [each["progress"] for each in seen]

    assert sorted(set(progress)) == progress
    assert {os.getpid()} == {each["pid"] for each in seen}
