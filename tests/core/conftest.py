"""A real workspace with a real log on the demo's base model, and a daemon's hands on it."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.jobs.service import Service
from core.logbook import open_log
from db.workspace import Workspace


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, demo_base: Path) -> Path:
    """A workspace as `init` makes it; only to be copied."""
    from core.cli.start import create
    from core.model.base import install
    from core.model.demo import SETTINGS

    place = Workspace(tmp_path_factory.mktemp("made") / "workspace")
    place.lay_out()
    create(place, install(demo_base, place.models), replace(SETTINGS, poll_interval=0.2), "user")
    return place.root


@pytest.fixture
def workspace(made: Path, tmp_path: Path) -> Workspace:
    """A fresh workspace of the test's own."""
    shutil.copytree(made, tmp_path / "workspace")
    return Workspace(tmp_path / "workspace")


@pytest.fixture
def service(workspace: Workspace) -> Iterator[Service]:
    """The daemon's hands on it."""
    log = open_log(workspace, "daemon")
    yield Service(workspace, log)
    log.close()
