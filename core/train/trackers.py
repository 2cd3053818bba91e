"""Trackers: what Hugging Face's own callbacks for TensorBoard, W&B, Trackio and MLflow hear of a run.

They are called from a thread of their own: no step waits for a tracker, and one that raises, or takes longer
than everybody else, is left out and told. What it writes lies in `logs/trackers`, unless the environment of
the service names another place.
"""

import contextlib
import os
import queue
import threading
import traceback
from dataclasses import dataclass, field
from pathlib import Path

from transformers import TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import get_reporting_integration_callbacks

from core.settings import Settings
from events.types import AlertRaised

WAITING = 10_000  # figures that may wait for a slow tracker; beyond, it is left out
END_SECONDS = 10.0
PROJECT = "evertrain"

Figures = tuple[int, dict[str, float]]  # global step, name → value


def places(folder: Path) -> dict[str, str]:
    """Where each tracker keeps its things, and under which name: environment variables that they read."""
    return {
        "TENSORBOARD_LOGGING_DIR": str(folder / "tensorboard"),
        "WANDB_DIR": str(folder),
        "WANDB_CACHE_DIR": str(folder / "wandb" / "cache"),
        "WANDB_CONFIG_DIR": str(folder / "wandb" / "config"),
        "WANDB_DATA_DIR": str(folder / "wandb" / "data"),
        "WANDB_PROJECT": PROJECT,
        "TRACKIO_DIR": str(folder / "trackio"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder / 'mlflow.db'}",  # its folder store is no longer allowed
        "MLFLOW_EXPERIMENT_NAME": PROJECT,
    }


@dataclass(slots=True, eq=False)
class _Tracker:
    name: str
    waiting: "queue.Queue[Figures | None]" = field(default_factory=lambda: queue.Queue(maxsize=WAITING))
    thread: threading.Thread | None = None
    failed: bool = False


class Trackers:
    """The trackers of one try at a run; `news` has a word for each that had to be left out."""

    def __init__(self, settings: Settings, folder: Path, run: str, steps_planned: int, *, cpu: bool) -> None:
        self._failures: list[str] = []
        self._told = 0
        self._trackers: list[_Tracker] = []
        if not settings.report_to:
            return
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, place in places(folder).items():
            os.environ.setdefault(name, place)
        os.chdir(folder)  # what a tracker writes to a relative path stays inside the workspace
        arguments = TrainingArguments(
            output_dir=str(folder),
            run_name=run,
            project=PROJECT,
            learning_rate=settings.learning_rate,
            warmup_steps=settings.warmup_steps,
            per_device_train_batch_size=settings.batch_size,
            gradient_accumulation_steps=settings.gradient_accumulation,
            num_train_epochs=settings.epochs,
            max_steps=steps_planned,
            seed=settings.seed % 2**32,
            report_to=[],
            use_cpu=cpu,
        )
        for name in settings.report_to:
            tracker = _Tracker(name)
            tracker.thread = threading.Thread(
                target=self._work, args=(tracker, arguments), name=f"tracker {name}", daemon=True
            )
            self._trackers.append(tracker)
            tracker.thread.start()

    def log(self, global_step: int, **figures: float) -> None:
        """Figures of a step; names as transformers has them: `eval_…` is shown as a validation figure."""
        for tracker in self._trackers:
            if tracker.failed:
                continue
            try:
                tracker.waiting.put_nowait((global_step, dict(figures)))
            except queue.Full:
                self._leave_out(tracker, f"it is {WAITING} figures behind")

    def end(self) -> None:
        """Let each write what it has, but not for ever."""
        for tracker in self._trackers:
            if not tracker.failed:
                with contextlib.suppress(queue.Full):
                    tracker.waiting.put_nowait(None)
        for tracker in self._trackers:
            if tracker.thread is not None and not tracker.failed:
                tracker.thread.join(END_SECONDS)
                if tracker.thread.is_alive():
                    self._leave_out(tracker, f"it did not end within {END_SECONDS:.0f} s")

    def news(self) -> AlertRaised | None:
        """What is to be said of those left out; None when all has been said."""
        if len(self._failures) == self._told:
            return None
        self._told = len(self._failures)
        left_out = "; ".join(self._failures[: self._told])
        detail = f"report_to: {left_out}; left out until the next try or run, training goes on"
        return AlertRaised(severity="warning", type="report_to", detail=detail)

    def _work(self, tracker: _Tracker, arguments: TrainingArguments) -> None:
        """The tracker's thread: made, told, ended here alone, for some keep their run by thread."""
        try:
            (made,) = get_reporting_integration_callbacks([tracker.name])
            callback, control = made(), TrainerControl()
            state = TrainerState(max_steps=arguments.max_steps)
            callback.on_train_begin(arguments, state, control)
            while (figures := tracker.waiting.get()) is not None and not tracker.failed:
                state.global_step, logs = figures
                callback.on_log(arguments, state, control, logs=logs)
            callback.on_train_end(arguments, state, control)
        except Exception as error:  # whatever a library of others raises; told by the trainer's next step
            self._leave_out(tracker, f"{type(error).__name__} at {_place(error)}")

    def _leave_out(self, tracker: _Tracker, why: str) -> None:
        tracker.failed = True
        self._failures.append(f"{tracker.name}: {why}")


def _place(error: BaseException) -> str:
    """Where it was raised; the message may hold a key or an address, so it is not repeated."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{'/'.join(Path(last.filename).parts[-3:])}:{last.lineno}"
