"""The trainer's round, as told by the log: what it does with an open run, with requests, and with damage."""

import json
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from core.decide.batches import digests, lay_out
from core.logbook import follow, open_log
from core.train.record import Recorder
from core.train.refusals import NothingToResume, PlanDiffers
from core.train.service import Service
from db.processes import Stop
from events.heartbeat import Heartbeat
from events.log import Log
from events.types import (
    AlertRaised,
    AttemptStarted,
    CheckpointQuarantined,
    CheckpointSaved,
    DriftFound,
    PhaseEntered,
    StepsCompleted,
    StepSkipped,
    TrainingCompleted,
    TrainingFailed,
    TrainingInterrupted,
    TrainingRolledBack,
    ValidationMeasured,
)
from tests.core.train.stand import POISON, ROWS, VOCABULARY, Stand, StopAfter, column, only, tiny_network

Make = Callable[..., Stand]


def test_a_run_is_done_when_every_planned_step_is(stand: Stand) -> None:
    run = stand.start(stand.queue("a.jsonl"))
    stand.train()

    completed, planned = only(stand, TrainingCompleted), stand.follower.catch_up().run.runs[run].steps_planned
    assert planned == completed.steps == completed.global_step == len(column(stand, "loss")) > 0
    assert "completed" == stand.follower.state.run.runs[run].state
    assert completed.checkpoint in stand.follower.state.storage.checkpoints
    assert [1 + n for n in range(planned)] == [
        first + n
        for r in stand.facts(StepsCompleted)
        for first, n in [(r.event.first_step, n) for n in range(r.event.n)]
    ]


def test_every_row_that_is_not_held_out_is_trained_epochs_times(make_stand: Make) -> None:
    stand = make_stand("epochs", epochs=2)
    sha256 = stand.queue("a.jsonl")
    stand.start(sha256)
    stand.train()

    store = stand.store(sha256)
    layout = lay_out(store.hashes, store.lengths, stand.settings, sha256=sha256)
    assert 2 * len(layout.train_rows) == sum(column(stand, "rows"))
    assert 2 * digests(store.hashes, layout.train_rows) % 2**48 == sum(column(stand, "row_digest")) % 2**48
    assert 2 * store.lengths[layout.train_rows].sum() == sum(column(stand, "tokens"))
    assert 2 * store.trained[layout.train_rows].sum() == sum(column(stand, "trained_tokens"))


def test_the_holdout_is_measured_before_step_one_at_multiples_and_at_the_end(make_stand: Make) -> None:
    stand = make_stand("eval", eval_steps=3, batch_size=1)
    stand.start(stand.queue("a.jsonl"))
    stand.train()

    measured: list[Any] = [r.event for r in stand.facts(ValidationMeasured)]
    planned = only(stand, TrainingCompleted).steps
    assert sorted({*range(0, planned, 3), planned}) == [event.step for event in measured]
    assert pytest.approx(np.log(VOCABULARY), rel=0.1) == measured[0].loss
    assert None is measured[0].train_loss
    losses, tokens = np.array(column(stand, "loss")), np.array(column(stand, "trained_tokens"))
    for before, event in pairwise(measured):
        part = slice(before.step, event.step)
        assert pytest.approx(np.average(losses[part], weights=tokens[part])) == event.train_loss
    assert measured[-1].loss == only(stand, TrainingCompleted).validation_loss


def test_without_a_holdout_nothing_is_measured_and_unknown_is_none(make_stand: Make) -> None:
    stand = make_stand("none", validation_fraction=0.0)
    stand.start(stand.queue("a.jsonl"))
    stand.train()

    assert [] == stand.facts(ValidationMeasured)
    assert None is only(stand, TrainingCompleted).validation_loss


def test_runs_in_one_process_and_in_several_end_in_the_same_bits(make_stand: Make) -> None:
    one, several = make_stand("one"), make_stand("several")
    first, second = (several.queue(name, rows) for name, rows in (("a", 50), ("b", 90)))
    for file in (first, second):
        several.start(file)
        several.train()

    for name, rows in (("a", 50), ("b", 90)):
        one.queue(name, rows)
    one.start(first)
    stop = Stop()

    def lead_on() -> None:
        one.wait_for(lambda: len(one.facts(TrainingCompleted)) == 1)
        # what is in memory already is not read again: the damage goes unnoticed
        (one.workspace.root / only(one, TrainingCompleted).checkpoint / "model.safetensors").write_bytes(b"")
        one.start(second)
        one.wait_for(lambda: len(one.facts(TrainingCompleted)) == 2)
        stop.signal = "SIGTERM"

    leader = threading.Thread(target=lead_on)
    leader.start()
    one.train(stop, idle_seconds=60)
    leader.join()

    assert several.final() == one.final()
    assert [] == one.facts(CheckpointQuarantined)
    completed = [r.event.global_step for r in several.facts(TrainingCompleted)]
    assert [0, completed[0]] == [r.event.global_step for r in several.facts(AttemptStarted)]
    assert [0, completed[0]] == [r.event.global_step for r in one.facts(AttemptStarted)]


def test_a_damaged_resume_point_is_quarantined_and_the_one_before_leads_to_the_same_bits(
    make_stand: Make, undisturbed: Stand
) -> None:
    halted = make_stand("halted")
    halted.start(halted.queue("a.jsonl", rows=ROWS))
    halted.train(stop=StopAfter(9))
    newest = only(halted, TrainingInterrupted).checkpoint
    weights = halted.workspace.root / newest / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    halted.train()

    assert newest == only(halted, CheckpointQuarantined).path
    assert [] == halted.facts(AlertRaised)  # the steps done again came out the same
    assert 0 < halted.facts(AttemptStarted)[-1].event.step < only(halted, TrainingInterrupted).step
    assert undisturbed.final() == halted.final()


class Heard(Recorder):
    """What the loop says of its progress, counted by phase."""

    def __init__(self, log: Log) -> None:
        self.phases: Counter[str] = Counter()
        super().__init__(log, Heartbeat(log, "trainer"))

    def progress(self, phase: str, step: int | None) -> None:
        self.phases[phase] += 1
        super().progress(phase, step)


def test_every_file_of_a_resume_point_moves_the_phase_that_reads_or_writes_it(make_stand: Make) -> None:
    stand = make_stand("halted", save_steps=1000)
    stand.start(stand.queue("a.jsonl", rows=ROWS))
    stand.train(stop=StopAfter(9))
    (point,) = stand.facts(CheckpointSaved)
    files = json.loads((stand.workspace.root / point.event.path / "manifest.json").read_text())["files"]
    log = open_log(stand.workspace, "trainer")
    recorder = Heard(log)
    Service(stand.workspace, log, follow(log), recorder, Stop()).work(0.0)
    recorder.close()
    log.close()

    assert 2 == len(stand.facts(CheckpointSaved))
    assert len(files) < recorder.phases["load"]
    assert len(files) < recorder.phases["save"]


def test_the_log_decides_which_folder_is_gone_back_to(make_stand: Make, undisturbed: Stand) -> None:
    halted = make_stand("halted")
    halted.start(halted.queue("a.jsonl", rows=ROWS))
    halted.train(stop=StopAfter(9))
    known = halted.workspace.root / only(halted, TrainingInterrupted).checkpoint
    step = only(halted, TrainingInterrupted).global_step
    # a higher-numbered folder of another history, and one in the very place of the next save
    for number in (9000, 4 * (step // 4 + 1)):
        shutil.copytree(known, known.with_name(f"checkpoint-{number}"))
    halted.train()

    assert f"checkpoint-{4 * (step // 4 + 1)}" == only(halted, DriftFound).path.split("/")[-1]
    assert known.with_name("checkpoint-9000").exists()
    assert undisturbed.final() == halted.final()


def test_with_no_intact_resume_point_it_refuses_instead_of_starting_over(stand: Stand) -> None:
    stand.start(stand.queue("a.jsonl"))
    stand.train()
    stand.start(stand.queue("b.jsonl", seed=2))
    for saved in stand.facts(CheckpointSaved):
        shutil.rmtree(stand.workspace.root / saved.event.path)

    with pytest.raises(NothingToResume, match=r"put .*checkpoint-.* back from a backup"):
        stand.train()
    assert 1 == len(stand.facts(AttemptStarted))


def test_other_batches_than_those_it_was_started_with_are_refused(stand: Stand) -> None:
    sha256 = stand.queue("a.jsonl")
    stand.start(sha256)
    store = stand.workspace.tokens / sha256[:32]
    hashes = (store / "hashes.bin").read_bytes()
    (store / "hashes.bin").write_bytes(hashes[32:] + hashes[:32])

    with pytest.raises(PlanDiffers, match="queue retry"):
        stand.train()


def test_bad_numbers_fail_the_run_and_the_model_goes_back_to_the_last_good_point(
    make_stand: Make, tmp_path_factory: pytest.TempPathFactory
) -> None:
    network = tiny_network(tied=False)
    with torch.no_grad():
        network.get_input_embeddings().weight[POISON] = torch.inf
    base = tmp_path_factory.mktemp("poisoned")
    network.save_pretrained(base)
    stand = make_stand("poisoned", base=base)
    for name, token in (("good", None), ("bad", POISON), ("good again", None)):
        stand.start(stand.queue(name, rows=90, seed=len(name), token=token))
        stand.train()
    good, again = (r.event for r in stand.facts(TrainingCompleted))
    failed, started = only(stand, TrainingFailed), stand.facts(AttemptStarted)[-1].event

    assert good.checkpoint == failed.checkpoint == started.checkpoint
    assert good.global_step == failed.global_step == started.global_step
    assert 2 * [1, 2, 3] == [r.event.step for r in stand.facts(StepSkipped)]
    assert "lower learning_rate" in failed.reason
    back = only(stand, TrainingRolledBack)
    assert (3, 0, good.checkpoint) == (back.step, back.to_step, back.checkpoint)
    assert (good.global_step + 3, good.global_step) == (back.global_step, back.to_global_step)
    assert "came again after the run had gone back" in failed.reason
    assert "came again" not in back.reason
    assert [] == stand.facts(AlertRaised)  # the same both times
    for saved in stand.facts(CheckpointSaved):
        moments = load_file(stand.workspace.root / saved.event.path / "optimizer.safetensors")
        assert all(torch.isfinite(tensor).all() for tensor in moments.values())
    assert again.global_step > good.global_step


def test_a_file_whose_rows_have_nothing_to_learn_is_gone_through_without_a_change(
    make_stand: Make, base_folder: Path
) -> None:
    stand = make_stand("empty", validation_fraction=0.0)
    sha256 = stand.queue("a.jsonl")
    labels = stand.workspace.tokens / sha256[:32] / "labels.bin"
    labels.write_bytes(bytes(labels.stat().st_size))
    run = stand.start(sha256)
    stand.train()
    skipped = [r.event for r in stand.facts(StepSkipped)]
    (weights,) = (load_file(stand.workspace.root / r.event.path / "model.safetensors") for r in
                  stand.facts(CheckpointSaved))  # fmt: skip
    base = load_file(base_folder / "model.safetensors")

    assert stand.follower.catch_up().run.runs[run].steps_planned == len(skipped) > 3
    assert {"no_targets"} == {step.reason for step in skipped}
    assert "completed" == stand.follower.state.run.runs[run].state
    assert all(torch.equal(weights[name], base[name]) for name in weights)


def test_phases_are_facts_in_order_and_not_one_a_step(stand: Stand) -> None:
    stand.start(stand.queue("a.jsonl", rows=100))
    stand.train()

    phases = [r.event.phase for r in stand.facts(PhaseEntered)]
    assert ["load", "eval", "step"] == phases[:3]
    assert ["eval", "save", "idle"] == phases[-3:]
    assert all(first != second for first, second in pairwise(phases))
    assert "idle" == stand.log.heartbeats()["trainer"]["phase"]
