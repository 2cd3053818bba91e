"""The workspace: the one place that knows the folder layout."""

import os
from dataclasses import dataclass
from pathlib import Path

PRIORITIES = ("high", "normal", "low")
TERMINAL_FOLDERS = ("recently_completed", "failed")


@dataclass(frozen=True, slots=True)
class Workspace:
    """Every path that evertrain knows; facts hold them relative to `root`."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.json"

    @property
    def log(self) -> Path:
        return self.root / "evertrain.sqlite"

    @property
    def inbox(self) -> Path:
        return self.root / "inbox"

    @property
    def queue(self) -> Path:
        return self.root / "queue"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def current_model(self) -> Path:
        return self.models / "current_model"

    @property
    def versions(self) -> Path:
        return self.models / "versions"

    @property
    def backups(self) -> Path:
        return self.root / "backups"

    @property
    def status_file(self) -> Path:
        return self.root / "status" / "training_status.json"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def private(self) -> Path:
        """What can be deleted at any time and is made again: locks, token stores, caches, temporary files."""
        return self.root / ".evertrain"

    @property
    def locks(self) -> Path:
        return self.private / "locks"

    @property
    def tokens(self) -> Path:
        return self.private / "tokens"

    @property
    def notes(self) -> Path:
        """What a dying process had to say; the watchdog makes a fact of it."""
        return self.private / "notes"

    @property
    def cache(self) -> Path:
        return self.private / "cache"

    @property
    def kept_state(self) -> Path:
        """Where the fold of a long log may begin."""
        return self.cache / "state"

    @property
    def temporary(self) -> Path:
        return self.private / "tmp"

    @property
    def quarantine(self) -> Path:
        return self.private / "quarantine"

    @property
    def reserve(self) -> Path:
        """Space kept back for the log and the clean-up: see `db.reserve`."""
        return self.private / "reserve"

    def folders(self) -> list[Path]:
        """Every folder that `lay_out` makes."""
        inbox = [self.inbox, *(self.inbox / p for p in PRIORITIES)]
        queue = [self.queue / name for name in (*PRIORITIES, "processing", *TERMINAL_FOLDERS)]
        rest = [self.current_model, self.versions, self.backups, self.status_file.parent, self.logs]
        own = [self.locks, self.tokens, self.notes, self.cache, self.temporary, self.quarantine]
        return [*inbox, *queue, *rest, *own]

    def lay_out(self) -> None:
        """Make what is missing of the layout; the workspace is for its owner alone (mode 0700)."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.root.chmod(0o700)
        for folder in self.folders():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def relative(self, path: Path) -> str:
        """The path as facts hold it."""
        return path.relative_to(self.root).as_posix()

    def environment(self) -> dict[str, str]:
        """What a child's environment gets: caches and temporary files inside, nothing goes online."""
        return {
            "HF_HOME": str(self.cache / "huggingface"),
            "XDG_CACHE_HOME": str(self.cache),
            "TORCHINDUCTOR_CACHE_DIR": str(self.cache / "inductor"),
            "TRITON_CACHE_DIR": str(self.cache / "triton"),
            "TMPDIR": str(self.temporary),
            "HF_HUB_OFFLINE": "1",
            "TRANSFORMERS_OFFLINE": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }


def find(given: Path | None) -> Workspace:
    """`--workspace`, else $EVERTRAIN_WORKSPACE, else ./workspace; links resolved: two names, one place."""
    chosen = given or Path(os.environ.get("EVERTRAIN_WORKSPACE") or "workspace")
    return Workspace(chosen.expanduser().resolve())
