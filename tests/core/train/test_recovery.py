"""Bad numbers lead back once; steps done again are compared with their first doing."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace
from torch.optim.optimizer import register_optimizer_step_post_hook

from core.logbook import follow, open_log
from core.train.packed import PackedModel
from core.train.record import Recorder
from core.train.service import Service
from db.processes import Stop
from db.workspace import Workspace
from events.heartbeat import Heartbeat
from events.types import (
    AlertCleared,
    AlertRaised,
    AttemptStarted,
    CheckpointQuarantined,
    CheckpointSaved,
    Event,
    Recorded,
    StepsCompleted,
    StepSkipped,
    TrainingCompleted,
    TrainingInterrupted,
    TrainingRolledBack,
    ValidationMeasured,
)
from tests.core.train import made
from tests.core.train.stand import ROWS, Stand, StopAfter, only

Make = Callable[..., Stand]


@contextmanager
def bit_flip(micro_batch: int) -> Iterator[None]:
    """Before the forward pass of so many micro-batches of training, a weight in memory becomes infinite."""
    seen = 0

    def flip(module: torch.nn.Module, _: object) -> None:
        nonlocal seen
        if isinstance(module, PackedModel) and module.training:
            seen += 1
            if seen == micro_batch:
                with torch.no_grad():
                    module.network.model.norm.weight[0] = math.inf

    handle = torch.nn.modules.module.register_module_forward_pre_hook(flip)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def silent_flip(update: int) -> Iterator[None]:
    """After so many updates a moment becomes infinite: no loss, no gradient shows it in that step."""
    seen = 0

    def flip(optimizer: torch.optim.Optimizer, *_: object) -> None:
        nonlocal seen
        seen += 1
        if seen == update:
            next(iter(optimizer.state.values()))["exp_avg"].view(-1)[0] = math.inf

    handle = register_optimizer_step_post_hook(flip)
    try:
        yield
    finally:
        handle.remove()


def test_a_resume_point_that_was_saved_unsound_is_set_aside_for_the_one_before(
    make_stand: Make, undisturbed: Stand
) -> None:
    stand = make_stand("flipped")
    stand.start(stand.queue("a.jsonl", rows=ROWS))
    with silent_flip(2 * stand.settings.save_steps):
        stand.train()
    first, second = (r.event for r in stand.facts(CheckpointSaved)[:2])
    quarantined = only(stand, CheckpointQuarantined)

    assert second.path == quarantined.path == only(stand, TrainingRolledBack).checkpoint
    assert "exp_avg" in quarantined.problems[0]
    assert [None, first.path] == [r.event.checkpoint for r in stand.facts(AttemptStarted)]
    assert undisturbed.final() == stand.final()


def test_a_run_does_not_end_with_numbers_that_are_none(make_stand: Make, undisturbed: Stand) -> None:
    stand = make_stand("flipped")
    stand.start(stand.queue("a.jsonl", rows=ROWS))
    with silent_flip(only(undisturbed, TrainingCompleted).steps):
        stand.train()

    assert "is not finite in memory after step" in only(stand, TrainingRolledBack).reason
    assert [] == stand.facts(StepSkipped)
    assert undisturbed.final() == stand.final()


@pytest.mark.chaos
def test_a_halt_does_not_save_numbers_that_are_none(make_stand: Make, undisturbed: Stand) -> None:
    sound, stand = make_stand("sound", save_steps=5), make_stand("flipped", save_steps=5)
    for each in (sound, stand):
        each.start(each.queue("a.jsonl", rows=ROWS))
    sound.train(stop=StopAfter(11))
    halted = only(sound, TrainingInterrupted)
    with silent_flip(halted.step):
        stand.train(stop=StopAfter(11))
    back, saved = only(stand, TrainingRolledBack), [r.event.path for r in stand.facts(CheckpointSaved)]
    stand.train()

    assert f"in memory after step {halted.step}" in back.reason
    assert halted.checkpoint not in saved
    assert saved[-1] == back.checkpoint
    assert undisturbed.final() == stand.final()


def measured(stand: Stand) -> dict[int, float]:
    """Step → validation loss, as it counts."""
    return {r.event.step: r.event.loss for r in stand.facts(ValidationMeasured)}


# before the first resume point, and after one
@pytest.mark.parametrize("flipped", [pytest.param(4, marks=pytest.mark.chaos), 15])
def test_a_passing_fault_is_cured_by_going_back_and_leads_to_the_same_bits(
    make_stand: Make, undisturbed: Stand, flipped: int
) -> None:
    stand = make_stand("flipped")
    run = stand.start(stand.queue("a.jsonl", rows=ROWS))
    with bit_flip(flipped):
        stand.train()
    back, bad = only(stand, TrainingRolledBack), [r.event.step for r in stand.facts(StepSkipped)]
    tries = [r.event for r in stand.facts(AttemptStarted)]
    saved = [r.event for r in stand.facts(CheckpointSaved) if r.event.attempt == 1]

    assert [back.step - 2, back.step - 1, back.step] == bad
    assert (saved[-1].path if saved else None) == back.checkpoint
    assert (bool(saved), back.to_step) == (flipped > 4, tries[1].step)
    assert [(1, 0), (2, back.to_step)] == [(each.attempt, each.step) for each in tries]
    assert undisturbed.final() == stand.final()
    assert measured(undisturbed) == measured(stand)
    known = stand.follower.catch_up().run.runs[run]
    assert (1, "completed") == (known.rollbacks, known.state)
    # that the same steps are good now is no rounding: the machine made an error
    alert = only(stand, AlertRaised)
    assert ("steps_differ", "serious") == (alert.type, alert.severity)
    assert f"step {bad[0]} of a.jsonl" in alert.detail


def test_what_was_measured_beyond_the_point_gone_back_to_is_measured_again(make_stand: Make) -> None:
    stand = make_stand("flipped", save_steps=8, eval_steps=1)
    stand.start(stand.queue("a.jsonl", rows=120))
    with bit_flip(2 * 5):
        stand.train()
    found = [r.event for r in stand.facts(ValidationMeasured)]
    first, second = ([event for event in found if event.attempt == attempt] for attempt in (1, 2))
    planned = only(stand, TrainingCompleted).steps

    assert not math.isfinite(first[-1].loss)
    assert list(range(1, planned + 1)) == [event.step for event in second]
    assert all(math.isfinite(event.loss) for event in second)


# -- steps done again ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def halted(tmp_path_factory: pytest.TempPathFactory, base_folder: Path) -> Stand:
    """A run that was halted between two resume points of the schedule; only to be copied."""
    stand = Stand(tmp_path_factory.mktemp("halted") / "workspace", base_folder)
    stand.start(stand.queue("a.jsonl", rows=ROWS))
    stand.train(stop=StopAfter(11))
    return stand


def train_again(place: Workspace) -> list[Event]:
    """Its newest resume point is gone: the steps since the one before are done again. The new alerts."""
    log = open_log(place, "trainer")
    before, state = log.head(), follow(log).catch_up()
    newest = state.storage.usable[0]
    (place.root / newest.path / "model.safetensors").write_bytes(b"")
    assert newest.step > state.storage.usable[1].step
    recorder = Recorder(log, Heartbeat(log, "trainer"))
    Service(place, log, follow(log), recorder, Stop()).work(0.0)
    recorder.close()
    found = [r.event for r in log.read(before, types=(AlertRaised, AlertCleared))]
    log.close()
    return found


def told(stand: Stand, root: Path, name: str, value: float, software: str | None = None) -> Workspace:
    """A copy whose log has something else in this column of the step it was halted at."""
    last = only(stand, TrainingInterrupted).step

    def change(recorded: Recorded) -> Event:
        event = recorded.event
        if isinstance(event, AttemptStarted) and software is not None:
            return replace(event, software={**event.software, "torch": software})
        if not isinstance(event, StepsCompleted) or not event.first_step <= last < event.first_step + event.n:
            return event
        column = list(event.columns[name])
        column[last - event.first_step] = (column[last - event.first_step] or 0) + value
        return replace(event, columns={**event.columns, name: column})

    return made.told_otherwise(stand, root, change)


def test_steps_that_come_out_the_same_are_no_news(halted: Stand, tmp_path: Path) -> None:
    assert [] == train_again(told(halted, tmp_path / "workspace", "loss", 0.0))


@pytest.mark.parametrize(("name", "value"), [("loss", 2.0**-40), ("row_digest", 1)])
def test_the_smallest_difference_of_a_step_done_again_is_an_alert_with_both_values(
    halted: Stand, tmp_path: Path, name: str, value: float
) -> None:
    place = told(halted, tmp_path / "workspace", name, value)
    (alert,) = train_again(place)
    step = only(halted, TrainingInterrupted).step
    columns = [r.event for r in halted.facts(StepsCompleted) if r.event.first_step <= step][-1]
    first = columns.columns[name][step - columns.first_step]

    assert isinstance(alert, AlertRaised)
    assert f"step {step} of a.jsonl, done again, differs" in alert.detail
    assert f"{name} {(first or 0) + value}, now {first}" in alert.detail
    assert "memtest86+" in alert.detail


def test_other_software_may_round_otherwise_but_trains_the_same_rows(halted: Stand, tmp_path: Path) -> None:
    rounded = train_again(told(halted, tmp_path / "rounded", "loss", 0.5, software="1.0"))
    other = train_again(told(halted, tmp_path / "other", "row_digest", 1, software="1.0"))

    assert [] == rounded
    assert ["steps_differ"] == [alert.type for alert in other if isinstance(alert, AlertRaised)]


def test_the_alert_goes_with_the_next_run(make_stand: Make) -> None:
    stand = make_stand("flipped")
    stand.start(stand.queue("a.jsonl"))
    with bit_flip(4):
        stand.train()
    raised = set(stand.follower.catch_up().health.alerts)
    stand.start(stand.queue("b.jsonl"))
    stand.train()

    assert {"steps_differ"} == raised
    assert "steps_differ" not in stand.follower.catch_up().health.alerts
