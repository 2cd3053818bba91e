"""The demo's base, made once for every test of the models: read only."""

from pathlib import Path

import pytest

from core.model.demo import make_base


@pytest.fixture(scope="session")
def demo_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("demo") / "demo", seed=1)


@pytest.fixture
def copy(demo_base: Path, tmp_path: Path) -> Path:
    """A base of one's own to spoil."""
    folder = tmp_path / "source" / "small"
    folder.mkdir(parents=True)
    for path in demo_base.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder
