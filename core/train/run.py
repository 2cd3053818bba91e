"""A try at a run: from where the log says it stands, step by step, to whatever ends it in this process."""

from contextlib import suppress
from dataclasses import asdict

from core.decide import training
from core.decide.batches import Layout
from core.decide.resume import standing
from core.settings import Settings
from core.train.control import Control
from core.train.memory import UNKNOWN, Memory
from core.train.packed import Tokens
from core.train.patience import Patience
from core.train.penalties import Penalised
from core.train.points import Place
from core.train.record import Recorder, recorded_steps, weighted_mean
from core.train.refusals import NonFinite, SaveGivenUp
from core.train.saves import Saves
from core.train.steps import Steps
from core.train.surroundings import device_name, software
from core.train.trackers import Trackers
from core.train.trainer import Figures
from core.train.validation import measure, sets_of
from db.processes import Stop
from db.workspace import Workspace
from events.log import Conflict, Log
from events.types import (
    AlertCleared,
    AttemptStarted,
    Event,
    RequestRefused,
    ServiceResumed,
    TrainingCompleted,
    TrainingFailed,
    TrainingInterrupted,
    ValidationMeasured,
)
from projections.fold import Follower
from projections.run import Run
from projections.standing import Position

ANSWERS: tuple[type[Event], ...] = (RequestRefused, ServiceResumed)  # given by the daemon in our place


class Attempt:
    """One try at the open run; `memory` equals `position`."""

    def __init__(
        self,
        workspace: Workspace,
        log: Log,
        follower: Follower,
        recorder: Recorder,
        stop: Stop,
        *,
        memory: Memory,
        position: Position,
        store: Tokens,
        layout: Layout,
        settings: Settings,
        penalties: tuple[Penalised, ...] = (),
        fixed: Tokens | None = None,
    ) -> None:
        run = follower.state.run.current
        assert run is not None
        self._workspace, self._follower = workspace, follower
        self._recorder, self._memory = recorder, memory
        self._plan, self._settings = layout.plan, settings
        self._steps = Steps(store, layout.plan, settings, penalties)
        self._sets = sets_of(store, layout, fixed, settings)
        self._planned = layout.plan.steps_planned
        self._place = Place(run.id, run.attempt + 1, position.step, position.global_step)
        on_cpu, folder = memory.model.device.type == "cpu", workspace.logs / "trackers"
        self._trackers = Trackers(settings, folder, run.id, self._planned, cpu=on_cpu)
        self._control = Control(log, follower, stop, run.id)
        self._saves = Saves(
            workspace, recorder, memory, follower, Patience(stop),
            plan_sha256=layout.plan.sha256, precision=settings.precision,
        )  # fmt: skip
        recorder.begin(run.id, self._place.attempt)
        # what two means go over: the steps since the last validation, and the run's last tenth
        measured = max((step for step in training.measured(run) if step <= position.step), default=0)
        self._tail_from = self._planned - max(1, self._planned // 10) + 1
        self._since = recorded_steps(log, run.id, measured + 1, position.step)
        self._tail = recorded_steps(log, run.id, self._tail_from, position.step)

    def execute(self, load_seconds: float) -> str:
        """Train until done or told to halt: completed, paused, stopped, skipped, interrupted or failed."""
        if "report_to" in self._follower.state.health.alerts:
            self._recorder.append(AlertCleared(type="report_to"))  # another try for the trackers as well
        self._recorder.append(
            AttemptStarted(
                run=self._place.run,
                attempt=self._place.attempt,
                step=self._place.step,
                global_step=self._place.global_step,
                checkpoint=self._memory.holds,
                device=device_name(self._memory.model.device),
                dtypes=self._memory.dtypes,
                attention=self._memory.attention,
                software=software(),
                load_seconds=load_seconds,
            )
        )
        try:
            return self._go()
        finally:
            self._saves.end()
            self._trackers.end()
            self._tell_of_trackers()

    def _go(self) -> str:
        while True:
            try:
                self._measure_if_due()
                if (halted := self._halt()) is not None:
                    return halted
                if self._place.step == self._planned:
                    return self._complete()
                self._train()
            except NonFinite as error:
                return self._fail(str(error))
            except SaveGivenUp:
                return self._interrupt(stop_signal=self._control.signal)
            except Conflict:
                continue  # somebody took the request back while we saved: look again, go on

    @property
    def step(self) -> int:
        """Steps of the run that are done."""
        return self._place.step

    @property
    def _run(self) -> Run:
        """The run as the log has it now."""
        return self._follower.catch_up().run.runs[self._place.run]

    # -- steps ------------------------------------------------------------------------------------

    def _train(self) -> None:
        """Steps until the run is done or somebody asked for something."""
        self._recorder.enter("step", self._place.step, self._place.run)
        self._steps.train(
            self._memory,
            done=self._place.step,
            global_step=self._place.global_step,
            folder=self._workspace.temporary,
            after_step=self._after_step,
            moved=lambda: self._recorder.progress("step", self._place.step),
        )

    def _after_step(self, figures: Figures) -> bool:
        place = self._place
        self._place = Place(place.run, place.attempt, figures.step, figures.global_step)
        self._recorder.step(figures)
        self._recorder.progress("step", figures.step)
        self._trackers.log(
            figures.global_step,
            loss=figures.loss,
            learning_rate=figures.learning_rate,
            grad_norm=figures.grad_norm,
        )
        self._tell_of_trackers()
        if figures.is_finite:
            self._since[figures.step] = (figures.loss, figures.trained_tokens)
            if figures.step >= self._tail_from:
                self._tail[figures.step] = (figures.loss, figures.trained_tokens)
        if figures.step == self._planned:
            return False
        # among bad steps nothing is saved: going back must lead to before the first of them
        if figures.is_finite and training.is_save_due(self._settings, figures.global_step):
            self._saves.begin(self._place, "save_steps")
        self._measure_if_due()
        if self._control.is_asked():
            return False
        self._recorder.enter("step", figures.step, place.run)
        return True

    def _measure_if_due(self) -> None:
        step, global_step = self._place.step, self._place.global_step
        due = training.is_evaluation_due(self._settings, step, self._planned, global_step)
        if not due or not self._sets:
            return
        if step in training.measured(self._run):  # by a try before this one, which got further
            self._since = {}
            return
        self._recorder.enter("eval", step, self._place.run)
        measured = measure(self._sets, self._memory.model, give_up=self._gives_up)
        if measured is None:
            return  # told to halt: all is measured when the run goes on
        train_loss = weighted_mean(self._since)
        self._recorder.append(
            *(
                ValidationMeasured(
                    run=self._place.run,
                    attempt=self._place.attempt,
                    step=step,
                    global_step=global_step,
                    train_loss=train_loss,
                    **asdict(each),
                )
                for each in measured
            )
        )
        names = {"holdout": "eval_loss", "fixed": "eval_fixed_loss"}
        self._trackers.log(global_step, **{names[each.kind]: each.loss for each in measured})
        self._since = {}

    def _tell_of_trackers(self) -> None:
        if (alert := self._trackers.news()) is not None:
            self._recorder.append(alert)

    def _gives_up(self) -> bool:
        self._recorder.progress("eval", self._place.step)
        return self._control.is_asked()

    # -- requests and ends ------------------------------------------------------------------------

    def _halt(self) -> str | None:
        """Do what was asked, if anything was and a step is left. Raises Conflict when it was taken back."""
        state, place = self._follower.catch_up(), self._place
        asked = self._control.halt(state)
        if asked is None or place.step == self._planned:
            return None
        reason, outcome, why = asked
        ended = outcome(
            run=place.run,
            sha256=state.run.runs[place.run].sha256,
            step=place.step,
            global_step=place.global_step,
            checkpoint=self._saves.save(place, reason),
            **why,
        )
        self._recorder.append(ended, unless=ANSWERS, after=state.seq)
        return type(ended).__name__.removeprefix("Training").lower()

    def _complete(self) -> str:
        path, run = self._saves.save(self._place, "end"), self._run
        if path is None or not self._place.step == self._planned == run.steps_planned > 0:
            raise AssertionError(
                f"{run.id}: {self._place.step} of {run.steps_planned} steps is not completed"
            )
        last = run.validations[-1] if run.validations else None
        self._recorder.append(
            TrainingCompleted(
                run=run.id,
                sha256=run.sha256,
                steps=self._place.step,
                global_step=self._place.global_step,
                checkpoint=path,
                loss=weighted_mean(self._tail),
                validation_loss=last.loss if last is not None and last.step == self._place.step else None,
            )
        )
        return "completed"

    def _interrupt(self, stop_signal: str) -> str:
        """The process ends without a save: the run goes on from its newest resume point."""
        at = self._back()
        self._recorder.append(
            TrainingInterrupted(
                run=self._place.run,
                sha256=self._run.sha256,
                step=at.step,
                global_step=at.global_step,
                checkpoint=at.path,
                signal=stop_signal,
            )
        )
        return "interrupted"

    def _back(self) -> Position:
        """The last good resume point; what memory holds is not used again."""
        with suppress(SaveGivenUp):  # then the one before it is the newest
            self._saves.finish()
        self._memory.holds = UNKNOWN
        self._recorder.flush()
        return standing(self._follower.catch_up(), self._run)

    def _fail(self, reason: str) -> str:
        """Back to the last good resume point."""
        at, run = self._back(), self._run
        self._recorder.append(
            TrainingFailed(
                run=run.id,
                sha256=run.sha256,
                step=at.step,
                global_step=at.global_step,
                checkpoint=at.path,
                reason=reason,
                attempts=self._place.attempt,
            )
        )
        return "failed"
