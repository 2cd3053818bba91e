"""A workspace that has lived a little, and the real command on it."""

import contextlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from core.jobs.service import Service
from core.logbook import open_log
from db.workspace import Workspace
from tests.core.jobs.work import drop, rows, take_in, train_one


@pytest.fixture(scope="session")
def lived(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file trained to a version, three waiting, one rejected, one duplicate; only to be copied."""
    root = tmp_path_factory.mktemp("lived") / "workspace"
    shutil.copytree(made, root)
    log = open_log(Workspace(root), "daemon")
    service = Service(Workspace(root), log)
    drop(service, "done.jsonl", rows("done"))
    take_in(service)
    train_one(service)
    for name in ("deep/a.jsonl", "b.jsonl", "low/c.jsonl"):
        drop(service, name)
    drop(service, "copy.jsonl", rows("done"))
    drop(service, "bad.jsonl", "no json\n")
    take_in(service)
    drop(service, "other/a.jsonl", rows("another a"))
    take_in(service)
    log.close()
    return root


@pytest.fixture
def place(lived: Path, tmp_path: Path) -> Workspace:
    """A copy of the test's own; links between versions and the current model stay links."""
    subprocess.run(["cp", "-a", str(lived), str(tmp_path / "workspace")], check=True)
    return Workspace(tmp_path / "workspace")


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


def command(*arguments: str | Path) -> Done:
    """The command in this very process: a hundred times quicker than one of its own."""
    from core.cli import app, backup, crashes, disk, events, files, versions

    groups = (files.queue_app, events.events_app, versions.versions_app, backup.backup_app, disk.disk_app)
    for each in (app.app, *groups, crashes.crashes_app):
        each.registered_commands.clear()
        each.registered_groups.clear()
    out, err, code, argv = io.StringIO(), io.StringIO(), 0, sys.argv
    sys.argv = ["evertrain", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            app.run()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = argv
    return Done(code, out.getvalue(), err.getvalue())


@pytest.fixture
def run(place: Workspace) -> Callable[..., Done]:
    """The command on that workspace."""

    def on(*arguments: str | Path, check: int = 0) -> Done:
        done = command(*arguments, "--workspace", place.root)
        assert check == done.returncode, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return on


@pytest.fixture
def really(place: Workspace, evertrain: Callable[..., Any]) -> Callable[..., Any]:
    """The same in a process of its own."""

    def on(*arguments: str | Path, check: int | None = 0) -> Any:
        return evertrain(*arguments, "--workspace", place.root, check=check)

    return on


@pytest.fixture
def ask(run: Callable[..., Any]) -> Callable[..., Any]:
    """Its one JSON document."""

    def on(*arguments: str | Path, check: int | None = 0) -> Any:
        return json.loads(run(*arguments, "--json", check=check).stdout)

    return on


@pytest.fixture
def head(place: Workspace) -> Callable[[], int]:
    """The log's newest position."""

    def newest() -> int:
        log = open_log(place, "test")
        try:
            return log.head()
        finally:
            log.close()

    return newest
