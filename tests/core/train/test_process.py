"""The trainer as a process: killed, ended by a signal, refused beside another, honest about errors."""

import os
import signal
from collections.abc import Callable

from core.train.__main__ import serve
from db.processes import RoleLock, Stop
from events.types import AttemptStarted, StepsCompleted, TrainingInterrupted
from tests.core.train.stand import ROWS, Stand

Make = Callable[..., Stand]


def test_killed_in_a_save_then_ended_by_a_signal_it_ends_in_the_same_bits(
    make_stand: Make, undisturbed: Stand
) -> None:
    stand = make_stand("killed")
    stand.start(stand.queue("a.jsonl", rows=ROWS))

    in_a_save = stand.spawn()
    partial = stand.workspace.current_model
    stand.wait_for(lambda: any(partial.glob(".checkpoint-*.partial-*")))
    stand.kill(in_a_save)
    asked_to_end = stand.spawn()
    stand.wait_for(lambda: len(stand.facts(AttemptStarted)) == 2)
    asked_to_end.send_signal(signal.SIGTERM)
    code = asked_to_end.wait(30)
    stand.train()

    assert 0 == code
    (interrupted,) = stand.facts(TrainingInterrupted)
    assert "SIGTERM" == interrupted.event.signal
    assert undisturbed.final() == stand.final()
    assert [] == list(partial.glob(".checkpoint-*.partial-*"))
    # steps that were done twice came out the same both times
    figures: dict[int, set[float]] = {}
    for recorded in stand.facts(StepsCompleted):
        steps = recorded.event
        assert isinstance(steps, StepsCompleted)
        for step, loss in enumerate(steps.columns["loss"], steps.first_step):
            figures.setdefault(step, set()).add(float(loss or 0))
    assert {1} == {len(losses) for losses in figures.values()}


def test_a_second_trainer_is_refused_with_the_name_of_the_first(stand: Stand) -> None:
    head = stand.log.head()
    with RoleLock(stand.workspace.locks, "trainer"):
        assert 3 == stand.spawn().wait(60)

    assert head == stand.log.head()


def test_an_error_leaves_one_line_that_quotes_no_row(stand: Stand) -> None:
    sha256 = stand.queue("a.jsonl")
    stand.start(sha256)
    store = stand.workspace.tokens / sha256[:32]
    (store / "labels.bin").write_bytes(b"\x01" * (store / "labels.bin").stat().st_size)

    assert 1 == serve(stand.workspace, Stop(), 0.0)
    (note,) = stand.workspace.notes.iterdir()
    assert f"trainer-{os.getpid()}.txt" == note.name
    line = note.read_text()
    assert line.startswith("ValueError at core/train/packed.py:")
    assert 1 == len(line.splitlines())


def test_a_missing_base_model_is_an_error_and_not_an_attempt(stand: Stand) -> None:
    stand.start(stand.queue("a.jsonl"))
    (stand.workspace.models / "tiny").unlink()
    (stand.workspace.models / "tiny").mkdir()

    assert 1 == serve(stand.workspace, Stop(), 0.0)
    (note,) = stand.workspace.notes.iterdir()
    assert note.read_text().startswith("ValueError at core/train/memory.py")
    assert [] == stand.facts(AttemptStarted)
