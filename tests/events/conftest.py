"""A log to write to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from events.log import Log


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    opened = Log(tmp_path / "evertrain.sqlite", "test", create=True)
    yield opened
    opened.close()
