"""A save or a step that finds no space: the run waits in memory, and comes to the same bits as ever."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.decide.resume import standing
from core.logbook import open_log
from core.train.__main__ import serve
from db.processes import Stop
from db.reserve import Reserve
from events.types import (
    AlertCleared,
    AlertRaised,
    CheckpointSaved,
    Event,
    ProcessCrashed,
    StepsCompleted,
    TrainingInterrupted,
)
from events.verify import verify_log
from tests.core.train.stand import ROWS, Stand, StopAfter, only
from tests.small_disk import SmallDisk

Make = Callable[..., Stand]
SIZE = 24 << 20
LITTLE = 160 << 10  # enough to begin a save, which takes some hundred KiB, and not to end it


@pytest.fixture
def disk(small_disk: Callable[[int], SmallDisk]) -> SmallDisk:
    return small_disk(SIZE)


@pytest.fixture
def cramped(disk: SmallDisk, base_folder: Path) -> Iterator[Stand]:
    """A run about to begin on a small disk, with the reserve of its daemon."""
    stand = Stand(disk.root / "workspace", base_folder)
    stand.start(stand.queue("a.jsonl", rows=ROWS))
    Reserve(stand.workspace.reserve).keep()
    yield stand
    stand.log.close()


def once(stand: Stand, fact: type[Event], then: Callable[[], None], count: int = 1) -> threading.Thread:
    """Somebody who looks, and does something after so many facts of a type."""

    def watch() -> None:
        log = open_log(stand.workspace, "cli")
        stand.wait_for(lambda: len(list(log.read(types=(fact,)))) >= count)
        log.close()
        then()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def grow_log(stand: Stand) -> None:
    """So many facts that the log needs no new space for a while: its WAL is long and begins anew."""
    for _ in range(200):
        stand.log.append(AlertCleared(type="nothing"))
    stand.log.reader.execute("PRAGMA wal_checkpoint(RESTART)")


@pytest.mark.parametrize("leave", [0, LITTLE])
def test_a_save_waits_for_space_and_the_run_comes_to_the_same_bits(
    cramped: Stand, disk: SmallDisk, undisturbed: Stand, leave: int
) -> None:
    grow_log(cramped)
    disk.fill(leave=leave)
    seen: list[object] = []

    def phase() -> str:
        return str(cramped.log.heartbeats()["trainer"]["phase"])

    def look_and_relieve() -> None:
        cramped.wait_for(lambda: phase() == "save")
        left = [path.name for path in cramped.workspace.current_model.iterdir()]
        seen.extend([phase(), left, cramped.facts(CheckpointSaved)])
        disk.relieve()

    watcher = once(cramped, AlertRaised, look_and_relieve)
    cramped.train()
    watcher.join()
    raised = only(cramped, AlertRaised)

    assert ["save", [], []] == seen
    assert "waiting:save" == raised.type
    assert ("needs" in raised.detail) == (leave == 0)
    assert AlertCleared(type="waiting:save") == cramped.facts(AlertCleared)[-1].event
    assert undisturbed.final() == cramped.final()
    assert {} == dict(cramped.follower.catch_up().health.alerts)


def test_steps_go_on_while_a_save_waits_until_the_next_one_is_due(
    cramped: Stand, disk: SmallDisk, undisturbed: Stand
) -> None:
    grow_log(cramped)
    disk.fill(leave=LITTLE)
    done: list[int] = []

    def look_and_relieve() -> None:
        cramped.wait_for(lambda: cramped.log.heartbeats()["trainer"]["phase"] == "save")
        done.append(max(r.event.first_step + r.event.n - 1 for r in cramped.facts(StepsCompleted)))
        disk.relieve()

    watcher = once(cramped, AlertRaised, look_and_relieve)
    cramped.train()
    watcher.join()
    first = cramped.facts(CheckpointSaved)[0].event

    assert cramped.settings.save_steps == first.step
    assert [2 * cramped.settings.save_steps] == done
    assert undisturbed.final() == cramped.final()


def test_told_to_end_while_a_save_waits_it_ends_with_what_is_on_disk(
    cramped: Stand, disk: SmallDisk, undisturbed: Stand
) -> None:
    cramped.train(stop=StopAfter(9))
    (before,) = cramped.facts(TrainingInterrupted)
    stop = Stop()
    disk.fill()

    def end() -> None:
        stop.signal = "SIGTERM"
        stop.event.set()

    watcher = once(cramped, AlertRaised, end)
    cramped.train(stop=stop)
    watcher.join()
    interrupted = cramped.facts(TrainingInterrupted)[-1].event
    state = cramped.follower.catch_up()
    assert state.run.current is not None
    at = standing(state, state.run.current)
    disk.relieve()
    cramped.train()

    assert isinstance(interrupted, TrainingInterrupted)
    assert before.event == interrupted
    assert (at.path, at.step) == (interrupted.checkpoint, interrupted.step)
    assert 0 == state.run.current.tries
    assert undisturbed.final() == cramped.final()


def test_a_log_without_room_holds_the_steps_back_until_there_is_some(
    cramped: Stand, disk: SmallDisk, undisturbed: Stand
) -> None:
    heads: list[int] = []

    def starve_look_and_relieve() -> None:
        Reserve(cramped.workspace.reserve).release()
        disk.fill()
        pause = threading.Event()
        before = -1
        while before != cramped.log.head():  # what still fits into the WAL gets in
            before = cramped.log.head()
            pause.wait(2.0)
        heads.append(before)
        disk.relieve()

    watcher = once(cramped, StepsCompleted, starve_look_and_relieve)
    code = serve(cramped.workspace, Stop(), 0.0)
    watcher.join()

    assert 0 == code
    assert heads and heads[0] < cramped.log.head()
    assert undisturbed.final() == cramped.final()
    assert () == verify_log(cramped.log.reader).problems


def test_a_death_for_want_of_space_is_no_try(stand: Stand) -> None:
    run = stand.start(stand.queue("a.jsonl"))
    for category, tries in (("disk_full", 0), ("value_error", 1), ("disk_full", 1)):
        stand.log.append(
            ProcessCrashed(
                role="trainer", pid=1, exit_code=1, signal=None, error="it died", run=run, step=0,
                category=category,
            )
        )  # fmt: skip

        assert tries == stand.follower.catch_up().run.runs[run].tries
