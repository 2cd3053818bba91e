"""Saves beside the steps: of the instant that they are of, one at a time, finished before anything else."""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch

from core.inspection import folder_problems
from core.train import checkpoint, snapshot
from core.train.points import Place
from core.train.refusals import CheckpointDiffers
from core.train.saves import CHECK, NICE, SHARE, Saves, Saving
from core.train.snapshot import Image, Snapshot
from db.processes import Stop
from events.heartbeat import moved
from events.types import (
    AlertCleared,
    AlertRaised,
    CheckpointSaved,
    StepsCompleted,
    TrainingCompleted,
    TrainingInterrupted,
)
from tests.core.train.stand import ROWS, Stand, column, only

Make = Callable[..., Stand]
MANY = {"batch_size": 1, "gradient_accumulation": 1, "save_steps": 1, "eval_steps": 1000}


class InASave(Stop):
    """A signal that arrives while a save is under way, after so many looks."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._left = looks

    def __bool__(self) -> bool:
        self._left -= 1
        if self._left < 0 and any(thread.name == "save" for thread in threading.enumerate()):
            self.signal = "SIGTERM"
            self.event.set()
        return super().__bool__()


@pytest.fixture
def boundaries(monkeypatch: pytest.MonkeyPatch) -> dict[int, tuple[str, str]]:
    """Global step → hashes of weights and moments in memory when its save was asked for."""
    seen: dict[int, tuple[str, str]] = {}
    for name in ("begin", "save"):
        asked = getattr(Saves, name)

        def noted(saves: Any, place: Place, reason: str, asked: Any = asked) -> Any:
            files = checkpoint.images(saves._memory.model.network, saves._memory.optimizer)
            seen[place.global_step] = files[checkpoint.WEIGHTS].sha256(), files[checkpoint.MOMENTS].sha256()
            return asked(saves, place, reason)

        monkeypatch.setattr(Saves, name, noted)
    return seen


def test_of_a_hundred_saves_each_is_the_state_of_its_instant(
    make_stand: Make, boundaries: dict[int, tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CHECK, "1")
    stand = make_stand("many", **MANY)
    stand.start(stand.queue("a.jsonl", rows=420))
    stop = InASave(40)
    stand.train(stop=stop)
    interrupted = only(stand, TrainingInterrupted)
    (at_signal,) = [c for c in stand.facts(CheckpointSaved) if c.event.path == interrupted.checkpoint]
    stand.train()
    saved: list[Any] = [recorded.event for recorded in stand.facts(CheckpointSaved)]

    assert ("SIGTERM", at_signal.event.step) == (interrupted.signal, interrupted.step)
    assert 100 <= len(saved) == only(stand, TrainingCompleted).steps
    assert boundaries == {s.global_step: (s.weights_sha256, s.moments_sha256) for s in saved}
    assert [*range(1, len(saved) + 1)] == [s.global_step for s in saved]
    for s in saved:
        assert [] == folder_problems(stand.workspace.root / s.path, s.manifest_sha256)


def test_an_optimizer_that_does_not_wait_for_the_copy_is_found_by_the_check(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Late(Snapshot):
        """A copy that takes longer than a step."""

        def take(self, images: Mapping[str, Image]) -> dict[str, Image]:
            part = images[checkpoint.WEIGHTS].parts[0]
            before = part.clone()
            stand.wait_for(lambda: not torch.equal(before, part))
            return super().take(images)

    monkeypatch.setattr("core.train.saves.Snapshot", Late)
    monkeypatch.setattr(Saves, "settle", lambda saves: None)
    monkeypatch.setenv(CHECK, "1")
    stand.start(stand.queue("a.jsonl", rows=ROWS))

    with pytest.raises(CheckpointDiffers, match=r"checkpoint-4/model.safetensors is not what was in memory"):
        stand.train()
    assert [] == stand.facts(CheckpointSaved)


def test_a_save_and_its_signal_in_turn_lead_to_the_same_bits(make_stand: Make, undisturbed: Stand) -> None:
    halted = make_stand("halted")
    halted.start(halted.queue("a.jsonl", rows=ROWS))
    halted.train(stop=InASave(5))
    interrupted = only(halted, TrainingInterrupted)
    saved = [r.event.step for r in halted.facts(CheckpointSaved)]
    halted.train()

    assert interrupted.step == saved[-1]
    assert len(saved) == len(set(saved))  # the instant that was being saved is not saved once more
    assert undisturbed.final() == halted.final()
    assert column(undisturbed, "loss") == column(halted, "loss")


def test_without_memory_for_a_copy_training_waits_for_its_saves_and_says_so_once(
    make_stand: Make, undisturbed: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = make_stand("short")
    short.start(short.queue("a.jsonl", rows=ROWS))
    with monkeypatch.context() as patched:
        patched.setattr(snapshot, "SPARE", float("inf"))
        short.train()
    raised = only(short, AlertRaised)
    done = [(r.seq, r.event.first_step + r.event.n - 1) for r in short.facts(StepsCompleted)]
    told = {
        saved.event.step: max(step for seq, step in done if seq < saved.seq)
        for saved in short.facts(CheckpointSaved)
    }
    short.start(short.queue("b.jsonl", seed=2))
    short.train()

    assert ("save_buffer", "warning") == (raised.type, raised.severity)
    assert "of main memory" in raised.detail
    assert {step: step for step in told} == told
    assert AlertCleared(type="save_buffer") == only(short, AlertCleared)
    again = make_stand("again")
    for name, seed, rows in (("a.jsonl", 1, ROWS), ("b.jsonl", 2, 60)):
        again.start(again.queue(name, rows=rows, seed=seed))
        again.train()
    assert again.final() == short.final()


def test_what_goes_wrong_in_a_save_ends_the_loop_before_it_trains_far(stand: Stand) -> None:
    stand.start(stand.queue("a.jsonl", rows=ROWS))
    stand.workspace.current_model.rmdir()

    with pytest.raises(FileNotFoundError):
        stand.train()
    done = sum(r.event.n for r in stand.facts(StepsCompleted))
    assert stand.settings.save_steps <= done <= 2 * stand.settings.save_steps
    assert [] == stand.facts(CheckpointSaved)
    assert not [thread for thread in threading.enumerate() if thread.name == "save"]


def test_the_buffer_is_taken_once_and_is_as_large_as_the_state(
    make_stand: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    class Counted(snapshot.Buffer):
        def __init__(self, size: int, device: torch.device) -> None:
            taken.append(size)
            super().__init__(size, device)

    monkeypatch.setattr("core.train.saves.Buffer", Counted)
    stand = make_stand("one", save_steps=2)
    stand.start(stand.queue("a.jsonl"))
    stand.train()
    saved = only(stand, TrainingCompleted)
    folder = stand.workspace.root / saved.checkpoint
    files = [folder / name for name in (checkpoint.WEIGHTS, checkpoint.MOMENTS)]

    assert 1 == len(taken)
    assert 0 < sum(path.stat().st_size for path in files) - taken[0] < 1 << 16  # headers


def test_a_save_beats_only_while_the_loop_waits_for_it() -> None:
    heard: list[str] = []
    before: list[str] = []
    looked = threading.Event()

    def work(saving: Saving) -> None:
        moved()
        saving.copied.set()
        moved()
        before.extend(heard)
        looked.set()
        saving._awaited.wait(60)
        moved()
        raise OSError("the disk broke")

    saving = Saving(work, lambda: heard.append("beat"))
    assert looked.wait(60)

    with pytest.raises(OSError, match="the disk broke"):
        saving.result()
    assert ([], ["beat"]) == (before, heard)


class Pauses(threading.Event):
    """An event that counts who waits for it."""

    times = 0

    def wait(self, timeout: float | None = None) -> bool:
        self.times += 1
        return super().wait(timeout)


def test_a_save_leaves_the_machine_to_the_steps_until_they_wait_for_it() -> None:
    pauses, times, beside = Pauses(), list[int](), threading.Event()
    wall = cpu = 0.0

    def burn(pieces: int) -> None:
        for _ in range(pieces):
            until = time.thread_time() + 0.01
            while time.thread_time() < until:
                pass
            moved()
        times.append(pauses.times)

    def work(saving: Saving) -> None:
        nonlocal wall, cpu
        saving._awaited = pauses
        burn(5)  # copying: the optimizer waits for this
        saving.copied.set()
        moved()
        wall, cpu = time.monotonic(), time.thread_time()
        burn(10)
        wall, cpu = time.monotonic() - wall, time.thread_time() - cpu
        beside.set()
        saving._awaited.wait(60)
        burn(5)

    saving = Saving(work, lambda: None)
    assert beside.wait(60)
    saving.result()

    assert [0, 11, 12] == times
    assert wall >= 0.99 * cpu / SHARE


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a priority is of the whole process")
def test_the_threads_of_a_save_stand_back_behind_the_one_that_trains() -> None:
    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    own, seen = niceness(), list[int]()

    def work(saving: Saving) -> None:
        child = threading.Thread(target=lambda: seen.append(niceness()))
        child.start()
        child.join()
        seen.append(niceness())

    Saving(work, lambda: None).result()

    assert own == niceness()
    assert 2 * [min(own + NICE, 19)] == seen
