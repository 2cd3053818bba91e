"""What the tests of the models share."""

from pathlib import Path

import pytest


@pytest.fixture
def copy(demo_base: Path, tmp_path: Path) -> Path:
    """A base of one's own to spoil."""
    folder = tmp_path / "source" / "small"
    folder.mkdir(parents=True)
    for path in demo_base.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder
