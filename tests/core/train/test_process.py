"""The trainer as a process: killed, ended by a signal, refused beside another, honest about errors."""

import json
import os
import shutil
import signal
import threading
from pathlib import Path

import pytest

from core.decide.crash import Evidence, analyse
from core.safety.evidence import words
from core.train.__main__ import serve
from db.notes import read_note
from db.processes import RoleLock, Stop
from events.types import (
    AlertRaised,
    AttemptStarted,
    StepsCompleted,
    TrainingCompleted,
    TrainingInterrupted,
    ValidationMeasured,
)
from tests.core.train.stand import ROWS, Stand
from tests.facts import specimen


def test_killed_in_a_save_it_goes_on_to_the_same_bits(stand: Stand, undisturbed: Stand) -> None:
    stand.start(stand.queue("a.jsonl", rows=ROWS))
    trainer = stand.spawn()
    folder = stand.workspace.current_model
    stand.wait_for(lambda: any(folder.glob(".checkpoint-*.partial-*")))
    stand.kill(trainer)
    stand.train()

    assert undisturbed.final() == stand.final()
    assert [] == list(folder.glob(".checkpoint-*.partial-*"))
    # steps that were done twice came out the same both times
    figures: dict[int, set[float]] = {}
    for recorded in stand.facts(StepsCompleted):
        steps = recorded.event
        for step, loss in enumerate(steps.columns["loss"], steps.first_step):
            figures.setdefault(step, set()).add(loss)
    assert {1} == {len(losses) for losses in figures.values()}
    assert [] == stand.facts(AlertRaised)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_a_resume_point_and_exit_code_0(stand: Stand, number: signal.Signals) -> None:
    stand.start(stand.queue("a.jsonl", rows=ROWS))
    before = {kind: signal.getsignal(kind) for kind in (signal.SIGTERM, signal.SIGINT)}

    def send() -> None:
        stand.wait_for(lambda: len(stand.facts(ValidationMeasured)) == 2)
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    try:
        stop = Stop().install()
        sender.start()
        code = serve(stand.workspace, stop, 0.0)
    finally:
        sender.join()
        for kind, way in before.items():
            signal.signal(kind, way)

    assert 0 == code
    (interrupted,) = stand.facts(TrainingInterrupted)
    assert number.name == interrupted.event.signal
    assert interrupted.event.checkpoint == stand.follower.catch_up().storage.usable[0].path
    assert "open" == stand.follower.state.run.runs[interrupted.event.run].state


def test_a_second_trainer_is_refused_with_the_name_of_the_first(stand: Stand) -> None:
    head = stand.log.head()
    with RoleLock(stand.workspace.locks, "trainer"):
        assert 3 == stand.spawn().wait(60)

    assert head == stand.log.head()


def test_an_error_leaves_a_note_that_quotes_no_row_and_exit_code_1(stand: Stand) -> None:
    sha256 = stand.queue("a.jsonl")
    stand.start(sha256)
    store = stand.workspace.tokens / sha256[:32]
    (store / "labels.bin").write_bytes(b"\x01" * (store / "labels.bin").stat().st_size)

    assert 1 == serve(stand.workspace, Stop(), 0.0)
    note = read_note(stand.workspace.notes, "trainer")
    assert note is not None
    assert note["error"].startswith("ValueError at core/train/packed.py:")


def test_a_gpu_that_is_gone_is_waited_for_unless_the_cpu_is_asked_for(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.start(stand.queue("a.jsonl"))
    stand.log.append(specimen(AttemptStarted, run=stand.follower.catch_up().run.open, device="NVIDIA RTX"))

    assert 1 == serve(stand.workspace, Stop(), 0.0)
    said = words(stand.workspace, "trainer")
    assert "gpu_missing" == analyse(Evidence("trainer", exit_code=1, raised=said.raised)).category
    assert "NVIDIA RTX" in str(said.error)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert 0 == serve(stand.workspace, Stop(), 0.0)
    assert 1 == len(stand.facts(TrainingCompleted))


def test_a_missing_base_model_is_an_error_and_not_an_attempt(stand: Stand) -> None:
    stand.start(stand.queue("a.jsonl"))
    (stand.workspace.models / "tiny").unlink()
    (stand.workspace.models / "tiny").mkdir()

    assert 1 == serve(stand.workspace, Stop(), 0.0)
    said = words(stand.workspace, "trainer")
    assert [] == stand.facts(AttemptStarted)
    assert "base_missing" == analyse(Evidence("trainer", exit_code=1, raised=said.raised)).category
    assert "put its files back" in str(said.error)


def test_a_model_that_no_memory_could_hold_is_the_machines_trouble_and_no_files(
    stand: Stand, base_folder: Path, tmp_path: Path
) -> None:
    base = tmp_path / "wide"
    shutil.copytree(base_folder, base)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"intermediate_size": 10**12}))
    stand.start(stand.queue("a.jsonl"))
    (stand.workspace.models / "tiny").unlink()
    (stand.workspace.models / "tiny").symlink_to(base)

    assert 1 == serve(stand.workspace, Stop(), 0.0)
    said = words(stand.workspace, "trainer")
    assert [] == stand.facts(AttemptStarted)
    assert "memory_too_small" == analyse(Evidence("trainer", exit_code=1, raised=said.raised)).category
    assert "too few at the very least" in str(said.error)


def test_a_tokenizer_that_cannot_be_used_is_the_bases_trouble_and_no_files(stand: Stand) -> None:
    sha256 = stand.queue("a.jsonl")
    stand.start(sha256)
    shutil.rmtree(stand.workspace.tokens / sha256[:32])  # they are to be made again

    assert 1 == serve(stand.workspace, Stop(), 0.0)
    said = words(stand.workspace, "trainer")
    assert [] == stand.facts(AttemptStarted)
    assert str(said.error).startswith("BaseUnusable at core/intake/base.py")
    assert "base_missing" == analyse(Evidence("trainer", exit_code=1, raised=said.raised)).category
