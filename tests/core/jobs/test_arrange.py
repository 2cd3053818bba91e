"""Arranging: names that no folder takes, and a move that fails, concern one file and never the others."""

import shutil

import pytest

from core.jobs.arrange import arrange
from core.jobs.poll import poll
from core.jobs.service import Service
from core.jobs.validate import validate
from projections.inbox import LONGEST_NAME
from tests.core.jobs.work import drop, entry, take_in


@pytest.mark.parametrize(
    "name", ["x" * 240 + ".jsonl", "ü" * 120 + ".jsonl", "\x1b" * 100 + ".jsonl", "y" * 200]
)
def test_a_name_too_long_for_the_queue_is_shortened_and_the_original_kept(
    service: Service, name: str
) -> None:
    drop(service, name)
    take_in(service)

    (file,) = service.state().inbox.files.values()
    (row,) = service.state().queue.entries.values()
    assert len(file.name.encode()) <= LONGEST_NAME
    assert name.startswith(("x", "ü", "y")) == (file.original == name)
    assert row.placed is not None
    assert (service.workspace.root / row.placed).is_file()
    assert not service.state().queue.unsettled


def test_a_file_that_cannot_be_moved_does_not_hold_up_the_others(service: Service) -> None:
    shutil.rmtree(service.workspace.queue / "low")
    drop(service, "low/stuck.jsonl")
    drop(service, "fine.jsonl")
    poll(service)
    (service.workspace.queue / "low").rmdir()  # the poll made it again
    (service.workspace.queue / "low").write_text("somebody's file where the folder should be")

    with pytest.raises(OSError, match="low"):
        arrange(service)

    assert "queue/normal/fine.jsonl" == entry(service, "fine.jsonl").placed
    assert entry(service, "stuck.jsonl").placed is None
    (service.workspace.queue / "low").unlink()
    arrange(service)
    assert "queue/low/stuck.jsonl" == entry(service, "stuck.jsonl").placed
    assert validate(service)


def test_a_daemon_that_cannot_arrange_at_its_start_lives_and_says_so(service: Service) -> None:
    import os
    import subprocess
    import sys
    import time
    from pathlib import Path

    drop(service, "low/stuck.jsonl")
    poll(service)
    shutil.rmtree(service.workspace.queue / "low")
    (service.workspace.queue / "low").write_text("somebody's file where the folder should be")
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "core.jobs", "--workspace", str(service.workspace.root)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    try:
        deadline = time.monotonic() + 50
        while "job:arrange" not in service.state().health.alerts and time.monotonic() < deadline:
            time.sleep(0.1)

        assert "job:arrange" in service.state().health.alerts
        assert process.poll() is None
    finally:
        process.terminate()
        process.wait(20)
