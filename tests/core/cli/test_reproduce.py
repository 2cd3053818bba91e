"""reproduce: what it prints, and its exit codes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from db.processes import RoleLock
from db.workspace import Workspace
from tests.conftest import ROOT
from tests.core.cli.conftest import command
from tests.core.train import made


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, demo_base: Path) -> Workspace:
    """One version, made with one thread; only to be looked at."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    stand = made.new(tmp_path_factory.mktemp("trained") / "workspace", demo_base)
    made.starts(stand, 0)
    made.ends(stand)
    torch.set_num_threads(threads)
    return stand.workspace


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """The command sets its own process's; here that is the tests'."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def test_the_same_bits_are_exit_code_0(trained: Workspace) -> None:
    done = command("reproduce", "current", "--workspace", trained.root, "--json")
    told = json.loads(done.stdout)
    text = command("reproduce", "v0001", "--workspace", trained.root)

    assert (0, 0) == (done.returncode, text.returncode), done.stderr
    assert ("v0001", True, None, 0) == (
        told["id"], told["identical"], told["first_difference"], told["differing_steps"],
    )  # fmt: skip
    pair = told["hashes"]["model.safetensors"]
    assert pair["recorded"] == pair["now"]
    assert f"v0001: identical, {told['last_step']} steps from the base model" in text.stdout
    assert f"train 1 of {told['last_step']}" in done.stderr


def test_another_processor_is_exit_code_4_with_the_first_step_and_the_likely_cause(
    trained: Workspace,
) -> None:
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("this processor has no vector instructions to do without")
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from core.cli import main; main()", "reproduce", "v0001",
         "--workspace", str(trained.root), "--json"],
        capture_output=True, text=True, timeout=200,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ATEN_CPU_CAPABILITY": "default"},
    )  # fmt: skip
    told = json.loads(done.stdout)

    assert 4 == done.returncode
    assert not told["identical"]
    assert ("DEFAULT", torch.backends.cpu.get_cpu_capability()) == (
        told["surroundings"]["cpu"]["now"], told["surroundings"]["cpu"]["then"],
    )  # fmt: skip
    assert 0 < told["first_difference"]["step"] <= told["last_step"]
    assert told["first_difference"]["recorded"] != told["first_difference"]["now"]
    pair = told["hashes"]["model.safetensors"]
    assert pair["recorded"] != pair["now"]


def test_what_cannot_be_made_again_is_1_a_wrong_id_2_and_a_second_one_at_a_time_3(
    trained: Workspace, tmp_path: Path
) -> None:
    shutil.copytree(trained.root, tmp_path / "workspace", symlinks=True)
    place = Workspace(tmp_path / "workspace")
    (place.queue / "processing" / "0.jsonl").unlink()
    gone = command("reproduce", "v0001", "--workspace", place.root)
    unknown = command("reproduce", "v0077", "--workspace", place.root)
    with RoleLock(place.locks, "reproduction"):
        second = command("reproduce", "v0001", "--workspace", place.root)

    assert (1, 2, 3) == (gone.returncode, unknown.returncode, second.returncode)
    assert "v0001 was trained on 0.jsonl, and its bytes are gone" in gone.stderr
    assert "versions list" in unknown.stderr
    assert "already the reproduction of this workspace" in second.stderr
