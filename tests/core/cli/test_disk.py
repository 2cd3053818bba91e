"""disk and disk clean: figures that add up, a preview that holds, and an answer with nobody there."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.logbook import open_log, state_at
from db.processes import RoleLock
from db.workspace import Workspace
from events.types import CleanRequested, DiskCleaned
from tests.core.cli.conftest import command
from tests.small_disk import SmallDisk

Run = Callable[..., Any]
MIB = 1 << 20


@pytest.fixture
def litter(place: Workspace) -> list[Path]:
    """A left-over and a token store of nobody, a MiB each."""
    found = [place.temporary / "half", place.tokens / "0123456789abcdef"]
    for folder in found:
        folder.mkdir(parents=True)
        (folder / "ids.bin").write_bytes(bytes(MIB))
    return found


def test_the_document_has_what_the_contract_names(ask: Run, place: Workspace, litter: list[Path]) -> None:
    found = ask("disk")
    status = os.statvfs(place.root)

    contract = {"free_bytes", "floor_bytes", "target_bytes", "kinds", "reclaimable_bytes", "days_left"}
    assert contract <= set(
        found
    )
    assert {"log", "checkpoints", "versions", "backups", "tokens", "files", "logs"} <= set(found["kinds"])
    assert abs(status.f_bavail * status.f_frsize - found["free_bytes"]) < 2**30
    assert found["kinds"]["tokens"] > MIB and found["kinds"]["versions"] > 0
    assert found["reclaimable_bytes"] >= 2 * MIB
    assert None is found["days_left"]


def test_the_words_name_every_kind(run: Run) -> None:
    told = run("disk").stdout

    assert [] == [kind for kind in ("log", "checkpoints", "versions", "tokens", "files") if kind not in told]
    assert "evertrain disk clean" in told


def test_the_preview_names_each_thing_and_changes_nothing(
    ask: Run, run: Run, head: Callable[[], int], litter: list[Path], place: Workspace
) -> None:
    before = head()
    found = ask("disk", "clean", "--dry-run")
    told = run("disk", "clean", "--dry-run").stdout

    paths = [item["path"] for item in found["items"]]
    assert {place.relative(path) for path in litter} <= set(paths)
    assert sum(item["bytes"] for item in found["items"]) == found["would_free_bytes"]
    assert found["archived_bytes"] > 0
    assert [] == [path for path in paths if path not in told]
    assert "recently_completed" in told
    assert before == head()
    assert all(path.exists() for path in litter)


def test_with_no_service_the_command_cleans_and_tells(ask: Run, litter: list[Path]) -> None:
    expected = ask("disk", "clean", "--dry-run")["would_free_bytes"]
    done = ask("disk", "clean")
    after = ask("disk", "clean", "--dry-run")

    assert "DiskCleaned" == done["answer"]["type"]
    assert expected == done["freed_bytes"] == sum(done["kinds"].values())
    assert [] == [path for path in litter if path.exists()]
    assert 0 == after["would_free_bytes"]


def test_a_running_service_is_asked_and_its_own_things_are_left(
    run: Run, place: Workspace, litter: list[Path]
) -> None:
    with RoleLock(place.locks, "daemon"):
        told = run("disk", "clean", "--dry-run").stdout

    assert place.relative(litter[0]) not in told  # it may be at work there
    assert place.relative(litter[1]) in told


def test_with_no_byte_free_and_no_service_it_still_cleans(
    lived: Path, small_disk: Callable[[int], SmallDisk]
) -> None:
    disk = small_disk(40 * MIB)
    place = Workspace(disk.root / "workspace")
    shutil.copytree(lived, place.root)
    left = place.temporary / "half"
    left.write_bytes(bytes(MIB))
    place.reserve.write_bytes(bytes(MIB))
    disk.fill()
    done = command("disk", "clean", "--workspace", place.root)
    log = open_log(place, "test")
    answered = [each.event for each in log.read(types=(CleanRequested, DiskCleaned))]
    waiting = state_at(log).control.pending
    log.close()

    assert 0 == done.returncode, done.stderr
    assert ["CleanRequested", "DiskCleaned"] == [type(event).__name__ for event in answered]
    assert () == waiting
    assert not left.exists()
    assert disk.free > MIB


def test_a_disk_with_no_room_even_for_the_request_is_a_clear_error(
    lived: Path, small_disk: Callable[[int], SmallDisk]
) -> None:
    disk = small_disk(40 * MIB)
    place = Workspace(disk.root / "workspace")
    shutil.copytree(lived, place.root)
    disk.fill()
    done = command("pause", "--workspace", place.root)

    assert 1 == done.returncode
    assert "make space" in done.stderr
    assert "Traceback" not in done.stderr
