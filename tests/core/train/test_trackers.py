"""Trackers: real callbacks in transformers' own registry; what they hear, and what their failing costs."""

import importlib.util
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from transformers import TrainerCallback
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from core.train import trackers
from core.train.trackers import places
from events.types import AlertCleared, AlertRaised, TrainingCompleted, ValidationMeasured
from tests.core.train.stand import Stand, column, only

Make = Callable[..., Stand]


@pytest.fixture(autouse=True)
def where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A trainer with trackers changes its folder and its environment."""
    monkeypatch.chdir(tmp_path)
    with mock.patch.dict(os.environ):
        yield


class Listener(TrainerCallback):  # type: ignore[misc]
    """Keeps what it hears; writes to a relative path, as trackers do."""

    heard: list[tuple[int, dict[str, float]]]
    told: list[str]

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.told.append(f"begin {args.run_name} {args.learning_rate} {args.max_steps}")
        Path("listener").write_text("begun")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        self.heard.append((state.global_step, dict(logs)))
        logs.clear()  # some change what they are given

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.told.append("end")


class Raising(TrainerCallback):  # type: ignore[misc]
    def on_log(self, *_: Any, **__: Any) -> None:
        raise OSError("the key is 12345")


class Hanging(TrainerCallback):  # type: ignore[misc]
    released = threading.Event()

    def on_log(self, *_: Any, **__: Any) -> None:
        self.released.wait(60)


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> type[Listener]:
    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "tensorboard", Listener)
    Listener.heard, Listener.told = [], []
    return Listener


def trained(stand: Stand) -> Stand:
    stand.fix("fixed")
    run = stand.start(stand.queue("a.jsonl"))
    stand.train()
    assert only(stand, TrainingCompleted).run == run
    return stand


def test_a_tracker_hears_every_step_and_every_evaluation_at_its_global_step(
    make_stand: Make, listener: type[Listener]
) -> None:
    stand = trained(make_stand("told", report_to=("tensorboard",)))
    facts = [r.event for r in stand.facts(ValidationMeasured)]

    steps = {step: said for step, said in listener.heard if "loss" in said}
    assert [1 + n for n in range(len(column(stand, "loss")))] == list(steps)
    for name in ("loss", "learning_rate", "grad_norm"):
        assert column(stand, name) == [said[name] for said in steps.values()]
    names = {"holdout": "eval_loss", "fixed": "eval_fixed_loss"}
    assert {(f.global_step, names[f.kind]): f.loss for f in facts} == {
        (step, name): value for step, said in listener.heard for name, value in said.items() if "eval" in name
    }
    run, planned = facts[0].run, only(stand, TrainingCompleted).steps
    assert [f"begin {run} {stand.settings.learning_rate} {planned}", "end"] == listener.told


def test_what_trackers_write_lies_in_the_workspace_unless_the_environment_says_otherwise(
    make_stand: Make, listener: type[Listener]
) -> None:
    os.environ["MLFLOW_TRACKING_URI"] = "https://tracking.example"
    stand = trained(make_stand("told", report_to=("tensorboard",)))
    folder = stand.workspace.logs / "trackers"

    assert "begun" == (folder / "listener").read_text()
    assert "https://tracking.example" == os.environ["MLFLOW_TRACKING_URI"]
    assert {str(folder / "tensorboard"), str(folder / "trackio")} == {
        os.environ["TENSORBOARD_LOGGING_DIR"],
        os.environ["TRACKIO_DIR"],
    }
    assert all(str(folder) in place for name, place in places(folder).items() if "DIR" in name)


@pytest.mark.parametrize("name", ["raising", "hanging", "missing"])
def test_a_tracker_that_fails_is_left_out_and_told_and_training_and_the_others_go_on(
    make_stand: Make, listener: type[Listener], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    Hanging.released.clear()
    if name == "missing" and importlib.util.find_spec("wandb") is not None:
        pytest.skip("wandb is installed")
    monkeypatch.setattr(trackers, "END_SECONDS", 0.2 if name == "hanging" else 60.0)
    if name != "missing":  # then the registry's own callback says that its package is not there
        monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "wandb", {"raising": Raising, "hanging": Hanging}[name])
    stand = trained(make_stand("told", report_to=("wandb", "tensorboard")))
    Hanging.released.set()

    why = {"raising": "OSError at ", "hanging": "it did not end", "missing": "RuntimeError at "}[name]
    alert = only(stand, AlertRaised)
    assert ("report_to", "warning") == (alert.type, alert.severity)
    assert f"wandb: {why}" in alert.detail
    assert "12345" not in alert.detail
    assert len(column(stand, "loss")) == len([said for _, said in listener.heard if "loss" in said])
    assert "end" == listener.told[-1]


def test_a_failing_tracker_costs_no_bit_and_its_alert_goes_with_the_next_run(
    make_stand: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "tensorboard", Raising)
    told, quiet = trained(make_stand("told", report_to=("tensorboard",))), trained(make_stand("quiet"))
    finals = told.final(), quiet.final()
    told.configure(quiet.settings)
    told.start(told.queue("b.jsonl", seed=2))
    told.train()

    assert finals[0] == finals[1]
    assert AlertCleared(type="report_to") == only(told, AlertCleared)
    assert {} == dict(told.follower.catch_up().health.alerts)
