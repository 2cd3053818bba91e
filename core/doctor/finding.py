"""What a check found, and what a workspace gives to examine."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.settings import Settings
from projections.memory import EMPTY, Memory

if TYPE_CHECKING:
    from datetime import datetime

    from db.workspace import Workspace

OK, WARN, PROBLEM = "ok", "warn", "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """`ok` is ok, warn or problem; `remedy` is empty where nothing is to be done."""

    name: str
    ok: str
    detail: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """A place and what its log says; the defaults and None where there is no log, or none that opens."""

    workspace: "Workspace"
    settings: Settings
    base: Path | None = None
    newest: "datetime | None" = None    # UTC of the last fact
    measured: Memory = EMPTY    # peaks of the runs

    @property
    def folder(self) -> Path:
        """The workspace, or the nearest folder above it that is there."""
        root = self.workspace.root
        return next(folder for folder in (root, *root.parents) if folder.is_dir())


def is_fit(findings: list[Finding]) -> bool:
    """No problem; warnings are allowed."""
    return all(finding.ok != PROBLEM for finding in findings)
