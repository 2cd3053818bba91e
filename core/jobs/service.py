"""What every job works with: the workspace, the log, the state at its head, and the settings in force."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.config import parse
from core.intake import reading
from core.intake.checker import Checker
from core.intake.report import Report
from core.intake.template import Renderer
from core.intake.validate import Past, examine
from core.jobs.progress import Progress
from core.logbook import follow
from core.settings import Settings
from db.workspace import Workspace
from events.log import Conflict, Log
from events.types import Event
from projections.fold import State

#: Decides again after a conflict; more than this many in a row means two owners of one decision.
TRIES = 10


class Service:
    """The daemon's hands; the CLI borrows them when no daemon runs."""

    def __init__(
        self,
        workspace: Workspace,
        log: Log,
        stop: threading.Event | None = None,
        checker: Checker | None = None,
    ) -> None:
        """`checker`: checks files in processes of their own; without one they are checked in this one."""
        self.workspace = workspace
        self.checker = checker
        self.log = log
        self.stop = stop or threading.Event()
        self.progress = Progress()
        self.places = threading.Lock()  # one job at a time moves files between folders
        self.deletions = threading.Lock()  # one job at a time deletes what was condemned
        self.fixing = threading.Lock()  # one job at a time checks the fixed validation set
        self.fixed_look: object = None  # what it was when it was last checked, and under which settings
        self._follower = follow(log)
        self._folding = threading.Lock()
        self._renderer: tuple[Path, Renderer] | None = None
        self._settings: tuple[dict[str, Any], Settings] | None = None

    def state(self) -> State:
        """The state at the head of the log."""
        with self._folding:
            return self._follower.catch_up()

    def settings(self) -> Settings:
        """The settings in force: those of the newest ConfigChanged, never those of the file."""
        config = self.state().workspace.config
        if self._settings is None or self._settings[0] is not config:
            self._settings = (config, parse(config))
        return self._settings[1]

    def base(self) -> Path:
        """The base model's folder."""
        created = self.state().workspace.created
        if created is None:
            raise RuntimeError("the log does not begin with WorkspaceCreated: run `evertrain verify`")
        return self.workspace.root / created.base_model

    def renderer(self) -> Renderer:
        """The base model's tokenizer and template, loaded once."""
        folder = self.base()
        if self._renderer is None or self._renderer[0] != folder:
            self._renderer = (folder, Renderer(folder))
        return self._renderer[1]

    def examine(
        self, path: Path, *, sha256: str, progress: reading.Progress | None = None, past: Past | None = None
    ) -> Report:
        """The check of a file under the settings in force, its tokens written. Raises OSError."""
        store = self.workspace.tokens
        if self.checker is not None:
            config, base = self.state().workspace.config, self.base()
            return self.checker.examine(
                path, sha256=sha256, base=base, config=config, store=store, progress=progress, past=past
            )
        return examine(
            path,
            sha256=sha256,
            renderer=self.renderer(),
            settings=self.settings(),
            store=store,
            progress=progress,
            past=past,
        )

    def append(
        self, *facts: Event, unless: tuple[type[Event], ...] = (), after: int | None = None
    ) -> list[int]:
        """Append, with the fact that caused the first and the one that began its story."""
        if not facts:
            return []
        first = facts[0]
        file = self.state().inbox.files.get(getattr(first, "sha256", ""))
        return self.log.append(
            *facts,
            unless=unless,
            after=after,
            causation=getattr(first, "request", None),
            correlation=file.received if file is not None else None,
        )

    def decide(
        self, question: Callable[[State], list[Event]], depends_on: tuple[type[Event], ...]
    ) -> list[Event]:
        """Ask, append the answer; ask again when something it rested on came in between."""
        for _ in range(TRIES):
            state = self.state()
            facts = question(state)
            if not facts:
                return []
            try:
                self.append(*facts, unless=depends_on, after=state.seq)
            except Conflict:
                continue
            return facts
        raise RuntimeError(f"{question} was overtaken {TRIES} times in a row")
