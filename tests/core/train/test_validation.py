"""Validation while training: hold-out and fixed set by one path, at the same steps, whatever came between."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.decide.batches import digests, shared
from core.intake.tokens import TokenStore
from core.jobs.arrange import arrange
from core.jobs.dispatch import start_next
from core.jobs.publish import publish
from core.jobs.service import Service
from core.train.refusals import PlanDiffers
from events.types import (
    AttemptStarted,
    TrainingCompleted,
    TrainingInterrupted,
    TrainingStarted,
    ValidationMeasured,
    VersionPublished,
)
from tests.core.jobs.test_fixed import name
from tests.core.jobs.work import drop, facts, rows, take_in
from tests.core.train.stand import ROWS, Stand, StopAfter, column, only
from tests.core.train.work import train

Make = Callable[..., Stand]
Measured = dict[tuple[str, int], tuple[float, float | None]]


def measured(stand: Stand) -> Measured:
    """(kind, step) → loss, and the training loss since the one before."""
    found: Measured = {}
    for recorded in stand.facts(ValidationMeasured):
        event: Any = recorded.event
        now = (event.loss, event.train_loss)
        assert now == found.setdefault((event.kind, event.step), now)
    return found


def test_the_fixed_set_is_measured_whenever_the_holdout_is(make_stand: Make) -> None:
    stand = make_stand("fixed", eval_steps=3, batch_size=1)
    key = stand.fix("fixed")
    stand.start(stand.queue("a.jsonl"))
    stand.train()

    found, planned = measured(stand), only(stand, TrainingCompleted).steps
    store = TokenStore.open(stand.workspace.tokens / key)
    steps = sorted({*range(0, planned, 3), planned})
    event: Any = next(r.event for r in stand.facts(ValidationMeasured) if r.event.kind == "fixed")
    assert [(kind, step) for step in steps for kind in ("holdout", "fixed")] == list(found)
    assert (20, int(store.trained.sum())) == (event.rows, event.trained_tokens)
    assert all(found["holdout", step][1] == found["fixed", step][1] for step in steps)
    run = stand.follower.catch_up().run.runs[event.run]
    assert found["fixed", planned][0] == run.fixed_loss


def test_without_a_holdout_the_fixed_set_is_measured_all_the_same(make_stand: Make) -> None:
    stand = make_stand("fixed", validation_fraction=0.0)
    stand.fix("fixed")
    stand.start(stand.queue("a.jsonl"))
    stand.train()

    assert {"fixed"} == {kind for kind, _ in measured(stand)}
    assert None is only(stand, TrainingCompleted).validation_loss


def test_the_same_rows_have_the_same_loss_as_holdout_and_as_fixed_set(make_stand: Make) -> None:
    # all rows of the file, under other numbers and beside others in their windows
    plain, fixed = make_stand("plain", validation_fraction=0.5, validation_max_rows=30), make_stand("fixed")
    plain.start(plain.queue("a.jsonl"))
    plain.train()
    store = plain.store(only(plain, TrainingStarted).sha256)
    fixed.fix("a", rows=60, seed=1)
    fixed.start(fixed.queue("b.jsonl", seed=2))
    fixed.train()
    losses = [r.event for r in plain.facts(ValidationMeasured) if r.event.step == 0]
    whole = [r.event for r in fixed.facts(ValidationMeasured) if (r.event.kind, r.event.step) == ("fixed", 0)]

    # before step 1 both are the base model: random, so every row is about as hard
    assert int(store.trained.sum()) == whole[0].trained_tokens > losses[0].trained_tokens
    assert pytest.approx(losses[0].loss, rel=0.01) == whole[0].loss


def test_rows_of_the_fixed_set_are_never_trained(make_stand: Make) -> None:
    stand = make_stand("fixed", epochs=2, validation_fraction=0.0)
    key = stand.fix("fixed", rows=25, seed=1)  # the first 25 rows of the file itself
    sha256 = stand.queue("a.jsonl", seed=1)
    stand.start(sha256)
    stand.train()

    store, never = stand.store(sha256), TokenStore.open(stand.workspace.tokens / key)
    others = (~shared(store.hashes, never.hashes)).nonzero()[0]
    assert 25 == only(stand, TrainingStarted).excluded_rows == 60 - len(others)
    assert 2 * len(others) == sum(column(stand, "rows"))
    assert 2 * digests(store.hashes, others) % 2**48 == sum(column(stand, "row_digest")) % 2**48


def test_steps_done_again_with_the_fixed_set_of_the_start_leave_every_measure_as_it_was(
    make_stand: Make, undisturbed: Stand
) -> None:
    straight, halted = make_stand("straight"), make_stand("halted")
    for stand in (straight, halted):
        stand.fix("fixed")
        stand.start(stand.queue("a.jsonl", rows=ROWS))
    straight.train()
    halted.train(stop=StopAfter(28))
    halted.fix("another", seed=77)  # for the next run
    stopped = only(halted, TrainingInterrupted)
    shutil.rmtree(halted.workspace.root / stopped.checkpoint)  # so it goes back to one further behind
    halted.train()
    seen = [r.event.step for r in halted.facts(ValidationMeasured)]
    began = halted.facts(AttemptStarted)[-1].event.step

    assert any(began < step <= stopped.step for step in seen)
    assert len(measured(halted)) == len(seen)
    assert measured(straight) == measured(halted)
    # and measuring the fixed set changes nothing that is trained: the other one had none
    assert undisturbed.final() == straight.final() == halted.final()


# -- on the demo's base, from the file to the version ---------------------------------------------------


def begun(service: Service) -> Path:
    """A run of chats with a fixed set, decided by the daemon."""
    drop(service, "a.jsonl", rows("a", 30) + rows("shared", 5))
    take_in(service)
    path = name(service, rows("shared", 12))
    start_next(service)
    arrange(service)
    return path


def test_a_version_carries_the_loss_on_the_fixed_set(service: Service) -> None:
    begun(service)
    train(service)
    publish(service)
    losses = [f.loss for f in facts(service, ValidationMeasured) if f.kind == "fixed"]  # type: ignore[attr-defined]

    (version,) = facts(service, VersionPublished)
    manifest = json.loads((service.workspace.versions / "v0001" / "manifest.json").read_text())

    assert losses[-1] == version.fixed_validation_loss == manifest["fixed_validation_loss"]  # type: ignore[attr-defined]
    assert losses[-1] < losses[0]


def test_lost_tokens_of_the_fixed_set_are_made_again_from_the_same_bytes_only(service: Service) -> None:
    path = begun(service)
    text = path.read_text()
    (run,) = facts(service, TrainingStarted)
    assert isinstance(run, TrainingStarted)
    for broken in (lambda: path.write_text(rows("other")), path.unlink):
        shutil.rmtree(service.workspace.tokens / str(run.fixed_store))
        broken()
        with pytest.raises(PlanDiffers, match=r"fixed\.jsonl.*queue retry a\.jsonl"):
            train(service)
        path.write_text(text)
        (service.workspace.tokens / str(run.fixed_store)).mkdir()
    train(service)

    assert 1 == len(facts(service, TrainingCompleted))
