"""What the tests of the trainer share; the workspaces themselves are in `stand`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.core.train.stand import ROWS, SETTINGS, Stand, tiny_network


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """The number of threads is part of bit-identity; the processes that tests start have one."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_network().save_pretrained(folder)
    return folder


@pytest.fixture
def stand(tmp_path: Path, base_folder: Path) -> Stand:
    return Stand(tmp_path / "workspace", base_folder)


@pytest.fixture
def make_stand(tmp_path: Path, base_folder: Path) -> Callable[..., Stand]:
    """More workspaces on the same base, for comparisons."""

    def make(name: str, base: Path = base_folder, **settings: Any) -> Stand:
        return Stand(tmp_path / name, base, replace(SETTINGS, **settings))

    return make


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, base_folder: Path) -> Stand:
    """The run that nothing halts: what every other way must lead to."""
    stand = Stand(tmp_path_factory.mktemp("undisturbed") / "workspace", base_folder)
    stand.start(stand.queue("a.jsonl", rows=ROWS))
    stand.train()
    return stand
