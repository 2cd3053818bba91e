"""The saves of a try: a thread copies, writes and tells the log, while the loop trains on.

At most one is under way. What goes wrong in it is raised at the loop's next call. Where the loop waits for
it, each piece that is written is a beat; where the loop does not, it beats for itself alone, so a write that
stands still is found where the loop waits for it: at the next save, or at the end of the run.
"""

import os
import sys
import threading
import time
from collections.abc import Callable

from core.decide.disk import amount, save_needs
from core.files import sha256_of
from core.space import ensure_room
from core.train import checkpoint, points
from core.train.memory import UNKNOWN, Memory
from core.train.patience import Patience
from core.train.points import Place
from core.train.record import Recorder
from core.train.refusals import CheckpointDiffers
from core.train.snapshot import Buffer, Image, Snapshot
from core.train.trainer import generators_sha256
from db.workspace import Workspace
from events.heartbeat import listening, moved
from events.types import AlertCleared, AlertRaised, CheckpointSaved
from projections.fold import Follower

NICE = 10  # of the threads that save: where cores are few, the steps come first
SHARE = 1 / 4  # of a core, that a save takes beside the steps: they share the way to the memory
CHECK = "EVERTRAIN_CHECK_SAVES"  # 1: each file is compared with the state at the instant it is of


class Saving:
    """One save under way."""

    def __init__(self, work: Callable[["Saving"], None], heard: Callable[[], None]) -> None:
        self.copied = threading.Event()  # from here on the state may change
        self._awaited = threading.Event()
        self._since: tuple[float, float] | None = None  # wall and CPU, since it is beside the steps
        self._work, self._heard = work, heard
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="save", daemon=True)
        self._thread.start()

    @property
    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def hear(self) -> None:
        """A piece is done. While the steps go on, they have the machine for a while."""
        if self._awaited.is_set():
            self._heard()
        elif self.copied.is_set():
            now = time.monotonic(), time.thread_time()
            wall, cpu = self._since = self._since or now
            self._awaited.wait(max(0.0, (now[1] - cpu) / SHARE - (now[0] - wall)))

    def join(self) -> None:
        """Wait for its end, however it ends: no more pauses, and each piece is a beat."""
        self._awaited.set()
        self._thread.join()

    def result(self) -> None:
        """Wait for its end. Raises what went wrong in it."""
        self.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        if sys.platform == "linux":  # there it holds for this thread, and for those that it starts
            thread = threading.get_native_id()
            own = os.getpriority(os.PRIO_PROCESS, thread)
            os.setpriority(os.PRIO_PROCESS, thread, min(own + NICE, 19))
        try:
            with listening(self.hear):
                self._work(self)
        except Exception as error:  # raised again in the loop: result
            self._error = error
        finally:
            self.copied.set()


class Saves:
    """Makes resume points of the instants at which it is called. Until `end` the optimizer waits for them."""

    def __init__(
        self,
        workspace: Workspace,
        recorder: Recorder,
        memory: Memory,
        follower: Follower,
        patience: Patience,
        *,
        plan_sha256: str,
        precision: str,
    ) -> None:
        self._workspace, self._recorder, self._memory = workspace, recorder, memory
        self._follower, self._patience = follower, patience
        self._plan_sha256, self._precision = plan_sha256, precision
        self._under_way: tuple[Saving, Place] | None = None
        self._hook = memory.optimizer.register_step_pre_hook(lambda *_: self.settle())

    # -- what the loop asks -----------------------------------------------------------------------

    def begin(self, place: Place, reason: str) -> None:
        """A resume point of this instant, made beside the steps to come.

        Waits for the save before. Without main memory for a copy of the state it waits for this one as well.
        """
        self.finish()
        if self._memory.holds != UNKNOWN:
            return
        buffer = self._buffer()
        self._start(place, reason, None if buffer is None else Snapshot(buffer))
        if buffer is None:
            self.finish()

    def save(self, place: Place, reason: str) -> str | None:
        """A resume point of this instant, unless memory equals one already, on the disk and told: its path.

        None: memory equals the base model, or a version's weights. Without space it waits, for what was
        trained is in memory alone; raises SaveGivenUp when the process is to end first.
        """
        self.finish()
        if self._memory.holds != UNKNOWN:
            known = self._follower.catch_up().storage.checkpoints
            return self._memory.holds if self._memory.holds in known else None
        self._recorder.enter("save", place.step, place.run)
        path = self._start(place, reason, None)
        self.finish()
        return path

    def settle(self) -> None:
        """Return once the state may change: called by the optimizer, right before it changes it."""
        if self._under_way is not None:
            self._under_way[0].copied.wait()
            if self._under_way[0].is_done:
                self.finish()

    def finish(self) -> None:
        """Wait until the save under way is on the disk and told. Raises what went wrong in it."""
        if self._under_way is not None:
            saving, place = self._under_way
            if not saving.is_done:
                self._recorder.enter("save", place.step, place.run)
            saving.join()
            self._under_way = None
            saving.result()

    def end(self) -> None:
        """The try ends, perhaps by an error: what is under way is still written, if there is space for it."""
        self._hook.remove()
        self._patience.end()
        if self._under_way is not None:
            self._under_way[0].join()
            self._under_way = None

    # -- one save ---------------------------------------------------------------------------------

    def _images(self) -> dict[str, Image]:
        return checkpoint.images(self._memory.model.network, self._memory.optimizer)

    def _buffer(self) -> Buffer | None:
        """The buffer of this model; None, told once, where there is too little memory for one."""
        memory, known = self._memory, "save_buffer" in self._follower.catch_up().health.alerts
        if memory.buffer is None:
            size = sum(image.body for image in self._images().values())
            try:
                memory.buffer = Buffer(size, memory.model.device)
            except MemoryError:
                if not known:
                    detail = (
                        f"no {amount(size)} of main memory for a copy of the model and its moments: training "
                        "stands still while a resume point is written; free memory, or save less often"
                    )
                    self._recorder.append(AlertRaised(severity="warning", type="save_buffer", detail=detail))
                return None
        if known:
            self._recorder.append(AlertCleared(type="save_buffer"))
        return memory.buffer

    def _start(self, place: Place, reason: str, snapshot: Snapshot | None) -> str:
        """Note all that belongs to this instant, and let a thread do the rest; the path to be."""
        state, network = self._follower.catch_up(), self._memory.model.network
        folder = self._workspace.current_model / points.name(self._workspace, state, place)
        path, generators = self._workspace.relative(folder), generators_sha256()
        needs = save_needs(state, self._precision)
        check = os.environ.get(CHECK) == "1"
        expected = {name: image.sha256() for name, image in self._images().items()} if check else {}
        position = {
            "run": place.run,
            "attempt": place.attempt,
            "step": place.step,
            "global_step": place.global_step,
            "plan_sha256": self._plan_sha256,
        }

        def work(saving: Saving) -> None:
            began = time.monotonic()
            files = self._images() if snapshot is None else snapshot.take(self._images())
            copying = time.monotonic() - began
            saving.copied.set()

            def write() -> checkpoint.Saved:
                ensure_room(self._workspace, f"the resume point {folder.name}", needs)
                points.clear(self._workspace, self._recorder, state, folder)
                return checkpoint.put(folder, files, network, position)

            saved = self._patience.insist(write, self._recorder, state, moved)
            for name, sha256 in expected.items():
                if sha256 != (found := sha256_of(folder / name)):
                    raise CheckpointDiffers(
                        f"{path}/{name} is not what was in memory after step {place.global_step}: "
                        f"{found[:12]} instead of {sha256[:12]}; do not use it, run `evertrain doctor` and "
                        "report this"
                    )
            self._recorder.append(
                CheckpointSaved(
                    run=place.run,
                    attempt=place.attempt,
                    step=place.step,
                    global_step=place.global_step,
                    path=path,
                    reason=reason,
                    manifest_sha256=saved.manifest_sha256,
                    weights_sha256=saved.weights_sha256,
                    moments_sha256=saved.moments_sha256,
                    rng_sha256=generators,
                    size_bytes=saved.size_bytes,
                    seconds=copying + saved.seconds,
                )
            )

        def heard() -> None:
            self._recorder.progress("save", place.step)

        self._under_way = Saving(work, heard), place
        # from the moment a step is made it no longer does; nobody asks before this save is finished
        self._memory.holds = path
        return path
