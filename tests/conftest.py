"""What every test may use; the only place that looks for tools and data outside the project."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.small_disk import SmallDisk

ROOT = Path(__file__).parent.parent

#: Comma-separated names; a thing named here that is missing is a failure instead of a skip.
REQUIRED = frozenset(filter(None, os.environ.get("EVERTRAIN_REQUIRE", "").split(",")))

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"


def missing(name: str, why: str) -> None:
    """Skip, or fail when this was promised to be there."""
    if name in REQUIRED:
        pytest.fail(f"{why} (EVERTRAIN_REQUIRE has {name})")
    pytest.skip(why)


def tool(name: str, *commands: str) -> str:
    """The path of the first of these commands that is installed."""
    for command in commands:
        if (found := shutil.which(command)) is not None:
            return found
    missing(name, f"none of {', '.join(commands)} is installed")
    raise AssertionError("unreachable")


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest) -> Path:
    """The folder of real data and tokenizers beside the project."""
    folder = request.config.rootpath.parent / "shared"
    if not (folder / "data").is_dir():
        missing("shared", "no ../shared beside the project")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """A browser of the distribution."""
    return tool("browser", "chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def strace() -> str:
    return tool("strace", "strace")


@pytest.fixture(scope="session")
def evertrain() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run the real command in a process of its own."""

    def run(
        *arguments: str | Path, check: int | None = 0, timeout: float = 120
    ) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-P", "-c", "from core.cli import main; main()", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        if check is not None:
            assert check == done.returncode, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def demo_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's own base model, made once."""
    from core.model.demo import make_base

    return make_base(tmp_path_factory.mktemp("base") / "tiny", seed=0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], SmallDisk]]:
    """Makes a file system of so many bytes, by mounting a tmpfs; skipped where that is not permitted."""
    mounted: list[Path] = []

    def make(size: int) -> SmallDisk:
        root = tmp_path / f"disk-{len(mounted)}"
        root.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "evertrain-test", str(root)]
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            missing("mount", "there is no `mount` here")
        if done.returncode:
            missing("mount", f"mounting a small disk is not permitted here: {done.stderr.strip()}")
        mounted.append(root)
        return SmallDisk(root)

    yield make
    for root in mounted:
        subprocess.run(["umount", "-l", str(root)], check=True)


@pytest.fixture
def no_children() -> Iterator[None]:
    """Nothing that a test started may outlive it."""
    import psutil

    yield
    left = [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]
    for process in left:
        process.kill()
    assert [] == [p.cmdline() for p in left]
