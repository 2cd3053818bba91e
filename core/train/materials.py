"""What a version was made of, found again and checked: base model, rows, the weights it began with."""

import shutil
from collections.abc import Callable
from pathlib import Path

from core.config import ConfigInvalid, parse
from core.decide.batches import lay_out
from core.files import folder_sha256
from core.inspection import folder_problems
from core.intake.template import Renderer
from core.intake.tokens import StoreDamaged, TokenStore
from core.intake.validate import examine
from core.settings import Settings
from core.train import checkpoint, history
from core.train.comparison import Difference
from core.train.memory import Memory, build, restore, take_weights
from core.train.penalties import penalised
from core.train.refusals import Unreproducible
from core.train.steps import Steps
from db.workspace import Workspace
from events.log import Log
from events.types import TrainingStarted
from projections.fold import State
from projections.queue import folder
from projections.versions import Version

BACK = "put it back from a backup (`evertrain backup restore` into a new folder, then copy it)"

#: Hears what is done, and how far: (what, done, of).
Progress = Callable[[str, int, int], None]


class Materials:
    """Everything but the steps themselves; what is written goes to `scratch`. Raises Unreproducible."""

    def __init__(
        self,
        workspace: Workspace,
        log: Log,
        state: State,
        version: Version,
        scratch: Path,
        progress: Progress,
    ) -> None:
        created = state.workspace.created
        assert created is not None
        self._workspace, self._log, self._state, self._version = workspace, log, state, version
        self._scratch, self._progress = scratch, progress
        self._base = workspace.root / created.base_model
        if not self._base.is_dir() or folder_sha256(self._base) != created.base_sha256:
            raise Unreproducible(
                f"{version.id}: the base model in {created.base_model} is not what the workspace began with: "
                "put its files back"
            )

    # -- rows -------------------------------------------------------------------------------------

    def steps(self, start: TrainingStarted, halvings: int) -> Steps | Difference:
        """Tokens written again and the plan made of them; or what differs from then already."""
        try:
            settings = parse(start.config)
        except ConfigInvalid as error:
            raise Unreproducible(
                f"{self._version.id} was trained under settings of another version of evertrain ({error}): "
                "ask that one"
            ) from error
        entry = self._state.queue.entries[start.sha256]
        place = entry.placed or f"{folder(entry)}/{entry.name}"
        path = self._workspace.root / place
        if not path.is_file():
            raise Unreproducible(
                f"{self._version.id} was trained on {start.file}, and its bytes are gone: put the file back "
                f"as {place}"
            )
        key = self._tokens(path, start.sha256, settings)
        if key != start.store:
            return Difference("tokens", start.store, key)
        store = TokenStore.open(self._scratch / key)
        fixed = self._fixed(start, settings)
        layout = lay_out(
            store.hashes,
            store.lengths,
            settings,
            sha256=start.sha256,
            fixed=None if fixed is None else fixed.hashes,
        )
        if layout.plan.sha256 != start.plan_sha256:
            return Difference("plan", start.plan_sha256, layout.plan.sha256)
        cut = layout.halved(store.lengths, halvings)
        return Steps(store, cut.plan, settings, penalised(settings, self._base), start.decays)

    def _tokens(self, path: Path, sha256: str, settings: Settings) -> str:
        """The key of the store of these bytes, written in the scratch."""
        report = examine(
            path,
            sha256=sha256,
            renderer=Renderer(self._base),
            settings=settings,
            store=self._scratch,
            progress=lambda done, of: self._progress("tokenize", done, of),
        )
        if report.store is None:
            raise Unreproducible(
                f"{self._version.id}: {path.name} is not what was trained ({report.reason}): put back the "
                "bytes that came in"
            )
        return report.store

    def _fixed(self, start: TrainingStarted, settings: Settings) -> TokenStore | None:
        """The fixed set where rows of the file stand in it; else the order is the same without it."""
        if not start.excluded_rows or start.fixed_set is None:
            return None
        try:
            return TokenStore.open(self._workspace.tokens / (start.fixed_store or ""))
        except StoreDamaged:  # it was only a cache
            path = self._workspace.root / (settings.fixed_validation or "")
        if not path.is_file():
            raise Unreproducible(
                f"{self._version.id} left out rows that stood in the fixed set {path.name}, which is gone: "
                "put it back"
            )
        return TokenStore.open(self._scratch / self._tokens(path, start.fixed_set, settings))

    # -- weights ----------------------------------------------------------------------------------

    def memory(self, start: TrainingStarted, began: int, settings: Settings) -> Memory:
        """The model as it stood when fact `began`, this start, was written."""
        if start.checkpoint is not None:
            self.resume_point(start.checkpoint, began)
        elif start.weights is not None:
            self._check_version(start.weights)
        memory = build(self._base, settings)
        if start.checkpoint is not None:
            restore(memory, self._workspace.root, start.checkpoint)
        elif start.weights is not None:
            take_weights(memory, self._workspace.root, start.weights)
        return memory

    def built_anew(self, memory: Memory, settings: Settings) -> Memory:
        """The same state under settings that cannot be changed in memory: by way of a resume point."""
        place = self._scratch / "between"
        shutil.rmtree(place, ignore_errors=True)
        checkpoint.write(place, memory.model.network, memory.optimizer, {})
        fresh = build(self._base, settings)
        restore(fresh, self._scratch, place.name)
        return fresh

    def resume_point(self, path: str, before: int) -> Path:
        """The folder of a resume point, still what it was when fact `before` was written."""
        known, folder = history.resume_point(self._log, path, before), self._workspace.root / path
        if not folder.exists():
            why = "which is gone (only `checkpoints_keep` resume points are kept)"
        elif problems := folder_problems(folder, known.manifest_sha256 if known is not None else ""):
            why = f"which is no longer what it was ({problems[0]})"
        else:
            return folder
        raise Unreproducible(
            f"{self._version.id} was made from {path}, {why}; from other weights, or with fresh moments, the "
            f"same bits cannot come out: {BACK}"
        )

    def _check_version(self, path: str) -> None:
        (version,) = [v for v in self._state.versions.versions.values() if v.path == path]
        if problems := folder_problems(self._workspace.root / path, version.manifest_sha256):
            raise Unreproducible(
                f"{self._version.id} began with the weights of {version.id}, which is gone or damaged "
                f"({problems[0]}): {BACK}"
            )
