"""The trainer's round: find the open run, bring memory to where it stands, train, wait for the next."""

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from core import config
from core.decide.batches import Layout, largest, lay_out
from core.decide.memory import Room
from core.intake.template import Renderer
from core.intake.tokens import StoreDamaged, TokenStore
from core.intake.validate import examine
from core.settings import Settings
from core.train import checkpoint, points
from core.train.memory import Memory, recompute
from core.train.penalties import penalised
from core.train.planning import Peak, plan_for, room_here
from core.train.record import Recorder
from core.train.refusals import DeviceGone, NothingToResume, PlanDiffers
from core.train.run import Attempt
from db.processes import Stop
from db.workspace import Workspace
from events.heartbeat import listening
from events.log import Log
from events.types import AttemptStarted
from projections.fold import Follower
from projections.queue import folder
from projections.run import Run

WAIT_SECONDS = 0.05
ENDS_THE_PROCESS = ("paused", "stopped", "interrupted")  # the device is given back


class Service:
    """One trainer process: keeps the model loaded from run to run."""

    def __init__(
        self,
        workspace: Workspace,
        log: Log,
        follower: Follower,
        recorder: Recorder,
        stop: Stop,
        room: Callable[[], Room] = room_here,
    ) -> None:
        self._workspace, self._log, self._follower = workspace, log, follower
        self._recorder, self._stop, self._room = recorder, stop, room
        self._memory: Memory | None = None

    def work(self, idle_seconds: float) -> None:
        """Train open runs; returns when told to halt, or when none has been open for `idle_seconds`."""
        checkpoint.sweep(self._workspace.current_model)
        until: float | None = None
        while not self._stop:
            state = self._follower.catch_up()
            run = state.run.current
            if run is not None and not state.control.may_train:
                return  # paused or stopped before it began: the daemon says so in the log
            if run is not None and run.state == "open":
                until = None
                if self._train(run) in ENDS_THE_PROCESS:
                    return
                continue
            if until is None:
                until = time.monotonic() + idle_seconds
                self._recorder.enter("idle", None, None)
            if time.monotonic() >= until:
                return
            self._recorder.progress("idle", None)
            self._stop.event.wait(WAIT_SECONDS)

    def _train(self, run: Run) -> str:
        settings = config.parse(run.config)
        store, layout, fixed = self._read(run, settings)
        began = time.monotonic()
        self._recorder.enter("load", None, run.id)
        stay_on_device(self._log)
        loaded, self._memory = self._memory, None  # after an error nothing in memory is trusted
        with listening(lambda: self._recorder.progress("load", None)):
            way = plan_for(
                self._recorder, self._follower.state, run, self._base, settings,
                partial(largest, layout.plan, store.lengths), self._room,
            )  # fmt: skip
            self._memory, position = points.load(
                self._workspace, self._recorder, loaded, self._follower.state, run, self._base, settings
            )
            recompute(self._memory, way.checkpointing)
        planned = self._follower.catch_up().memory.plans.get(run.id)
        layout, peak = layout.halved(store.lengths, way.halvings), Peak()
        attempt = Attempt(
            self._workspace,
            self._log,
            self._follower,
            self._recorder,
            self._stop,
            memory=self._memory,
            position=position,
            store=store,
            layout=layout,
            settings=settings,
            penalties=penalised(settings, self._base),
            fixed=fixed,
        )
        outcome = attempt.execute(time.monotonic() - began)
        state = self._follower.catch_up()
        if (measured := peak.measured(run.id, planned, state, attempt.step - position.step)) is not None:
            self._recorder.append(measured)
        return outcome

    # -- rows -------------------------------------------------------------------------------------

    def _read(self, run: Run, settings: Settings) -> tuple[TokenStore, Layout, TokenStore | None]:
        """The run's tokens, its layout, and the tokens of its fixed validation set."""
        entry = self._follower.state.queue.entries[run.sha256]
        path = self._workspace.root / (entry.placed or f"{folder(entry)}/{entry.name}")
        store, fixed = self._tokens(run, settings, path, run.sha256, run.store), None
        if run.fixed_set is not None and run.fixed_store is not None:
            place = self._workspace.root / (settings.fixed_validation or "")
            fixed = self._tokens(run, settings, place, run.fixed_set, run.fixed_store)
        layout = lay_out(
            store.hashes,
            store.lengths,
            settings,
            sha256=run.sha256,
            fixed=None if fixed is None else fixed.hashes,
        )
        if layout.plan.sha256 != run.plan_sha256:
            raise PlanDiffers(
                f"{run.id}: the batches of {run.file} differ from those of its start. "
                f"`evertrain skip`, then `evertrain queue retry {run.file}` trains it from its beginning"
            )
        return store, layout, fixed

    def _tokens(self, run: Run, settings: Settings, path: Path, sha256: str, key: str) -> TokenStore:
        """A token store of the run's start, written again from the very same bytes if it is gone."""
        place = self._workspace.tokens / key
        try:
            return TokenStore.open(place)
        except StoreDamaged:
            self._recorder.enter("tokenize", None, run.id)
        try:
            report = examine(
                path,
                sha256=sha256,
                renderer=Renderer(self._base),
                settings=settings,
                store=self._workspace.tokens,
                progress=lambda *_: self._recorder.progress("tokenize", None),
            )
        except FileNotFoundError:
            raise PlanDiffers(
                f"{run.id} needs {path.name} as it was at its start, and it is gone: put it back, "
                f"or `evertrain skip` and `evertrain queue retry {run.file}`"
            ) from None
        if report.store != key:
            raise PlanDiffers(
                f"{run.id}: {path.name} gives other tokens than when the run began "
                f"({report.reason or report.store}); was it changed, or the base model exchanged? "
                f"Try `evertrain queue retry {run.file}`"
            )
        return TokenStore.open(place)

    @property
    def _base(self) -> Path:
        created = self._follower.state.workspace.created
        if created is None:
            raise NothingToResume(
                "this workspace has no base model; make one with `evertrain init --base DIR`"
            )
        return self._workspace.root / created.base_model


def stay_on_device(log: Log) -> None:
    """Refuse to go on on the CPU unasked: what took minutes would take days. Raises DeviceGone."""
    newest = log.newest(AttemptStarted)
    if newest is None or torch.cuda.is_available() or os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return
    assert isinstance(newest.event, AttemptStarted)
    if not newest.event.device.startswith("cpu"):
        raise DeviceGone(
            f"{newest.event.device}, on which this model was trained, is gone: look at `nvidia-smi`, or "
            'serve with CUDA_VISIBLE_DEVICES="" to go on on the CPU'
        )
