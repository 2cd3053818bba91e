"""The whole service on a disk that fills up: it waits, says so, and comes to the same end as ever."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from db.reserve import Reserve
from events.types import (
    CheckpointSaved,
    FileReceived,
    FileValidated,
    JobFailed,
    ProcessCrashed,
    StepsCompleted,
    TrainingStarted,
    VersionPublished,
)
from projections.fold import State
from tests.e2e.stage import Outcome, Stage, outcome, terminal_states, wait
from tests.small_disk import SmallDisk

pytestmark = pytest.mark.chaos
SIZE = 96 << 20
WAITS_SECONDS = 5.0  # with no byte free

MOMENTS = {
    "start": None,
    "receive": FileReceived,
    "tokenize": FileValidated,
    "dispatch": TrainingStarted,
    "step": StepsCompleted,
    "save": CheckpointSaved,
    "publish": VersionPublished,
}


def is_waiting(state: State) -> bool:
    return any(kind.startswith("waiting") for kind in state.health.alerts)


def wait_while_full(stage: Stage, disk: SmallDisk) -> None:
    """Until it has waited for a while without a break; what it gives back and lives on is taken as well."""
    deadline = time.monotonic() + 100
    stage.wait_for(is_waiting, "an alert that says what is waited for")
    since = time.monotonic()
    while time.monotonic() - since < WAITS_SECONDS:
        assert time.monotonic() < deadline, "the service never stands still on a full disk"
        if not is_waiting(stage.state()):
            disk.fill()
            since = time.monotonic()
        time.sleep(0.1)


@pytest.mark.parametrize("moment", MOMENTS)
def test_full_at_any_moment_it_waits_and_comes_to_the_same_end(
    moment: str,
    fresh: Path,
    undisturbed: Outcome,
    small_disk: Callable[[int], SmallDisk],
    no_children: None,
) -> None:
    disk = small_disk(SIZE)
    shutil.copytree(fresh, disk.root / "workspace")
    stage = Stage(disk.root / "workspace")
    Reserve(stage.workspace.reserve).keep()
    fact = MOMENTS[moment]
    if fact is None:
        disk.fill()
    try:
        stage.serve("--until-idle")
        if fact is not None:
            stage.wait_for_fact(fact)
            disk.fill()
        wait_while_full(stage, disk)
        during = stage.state()
        alive = stage.process is not None and stage.process.poll() is None
        disk.relieve()
        assert stage.process is not None
        code = stage.process.wait(300)
    finally:
        stage.kill_all()

    assert is_waiting(during)
    assert alive
    assert 0 == code
    assert [] == stage.facts(JobFailed)
    assert [] == stage.facts(ProcessCrashed)
    assert {1} == set(terminal_states(stage).values())
    assert undisturbed == outcome(stage.root)


def test_floor_above_the_free_space_shows_on_the_command_line_and_ends_by_itself(
    fresh: Path,
    small_disk: Callable[[int], SmallDisk],
    evertrain: Callable[..., object],
    no_children: None,
) -> None:
    disk = small_disk(SIZE)
    shutil.copytree(fresh, disk.root / "workspace")
    stage = Stage(disk.root / "workspace")
    config = json.loads(stage.workspace.config.read_text())
    stage.workspace.config.write_text(json.dumps(config | {"disk_floor_gb": 10}))
    disk.fill(leave=int(0.04 * SIZE))  # the floor is 5 % of so small a disk

    def status() -> dict[str, object]:
        done = evertrain("status", "--json", "--workspace", stage.root)
        found: dict[str, object] = json.loads(done.stdout)  # type: ignore[attr-defined]
        return found

    with stage.serving():
        wait(lambda: "disk_floor_gb" in str(status()["waiting_for"]), 100, "the reason on the command line")
        stage.wait_for(lambda state: state.queue.waiting, "the files to be checked")
        during = stage.state()
        shown = status()
        disk.relieve()
        stage.wait_for_fact(TrainingStarted)
        after = stage.state()

    assert "waiting" == shown["status"]
    assert [] == [entry.name for entry in during.queue.entries.values() if entry.attempts]
    assert during.run.latest is None
    assert not is_waiting(after)
