"""The command: with a workspace, without one, and where something is wrong."""

import contextlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from core.cli.doctor import doctor
from core.doctor.examination import CHECKS, examine
from core.doctor.finding import OK, PROBLEM, is_fit
from core.model.estimate import describe
from core.model.refusal import BaseRefused
from db.workspace import Workspace

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def disk(root: Path) -> set[str]:
    """Every path that is not SQLite's own side file."""
    return {str(path) for path in root.rglob("*") if "sqlite-" not in path.name}


def free_port() -> str:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_a_workspace_passes_every_check_and_stays_as_it_was(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    before = disk(workspace.root)
    with contextlib.suppress(SystemExit):  # a card without torch's build for it is a problem of the machine
        doctor(port=int(free_port()), workspace=workspace.root, as_json=True)
    document = json.loads(capsys.readouterr().out)

    assert list(CHECKS) == [finding["name"] for finding in document["findings"]]
    problems = {finding["name"] for finding in document["findings"] if finding["ok"] == PROBLEM}
    assert problems <= {"gpu"}
    assert document["ok"] is not bool(problems)
    assert {"weights", "gradients", "moments", "activations", "logits chunk", "checkpoint buffer"} <= (
        document["memory_bytes"].keys()
    )
    assert [] == [f for f in document["findings"] if f["ok"] != OK and not f["remedy"]]
    assert before == disk(workspace.root)


def test_without_a_workspace_the_machine_is_examined_and_nothing_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.suppress(SystemExit):
        doctor(port=int(free_port()), workspace=tmp_path / "none")
    said = capsys.readouterr().out

    assert "no workspace" in said
    assert "sync_latency" in said
    assert [] == list(tmp_path.iterdir())


def test_a_problem_is_exit_code_1_with_its_remedy(workspace: Workspace, evertrain: Run) -> None:
    workspace.config.write_text('{"epoch": 3}')
    done = evertrain("doctor", "--workspace", workspace.root, "--port", free_port(), check=1)

    assert "PROBLEM config" in done.stdout
    assert "→ edit config.json" in done.stdout


def test_a_base_that_is_gone_is_a_problem(workspace: Workspace) -> None:
    for path in workspace.models.glob("*/config.json"):
        path.unlink()
    found = {finding.name: finding for finding in examine(workspace, int(free_port())).findings}

    assert not is_fit(list(found.values()))
    assert PROBLEM == found["base_model"].ok
    assert "memory" not in found


def test_a_log_that_does_not_open_leaves_the_other_checks(workspace: Workspace) -> None:
    workspace.log.write_bytes(b"no database at all" * 1000)
    found = {finding.name: finding.ok for finding in examine(workspace, int(free_port())).findings}

    assert PROBLEM == found["log"]
    assert OK == found["config"]


def test_parameters_are_counted_once_even_where_a_tied_head_is_stored(
    demo_base: Path, tmp_path: Path
) -> None:
    import shutil

    folder = Path(shutil.copytree(demo_base, tmp_path / "base"))
    before = describe(folder)
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    assert before == describe(folder)
    assert before.dimensions.tied


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_torn_model_folder_is_refused_with_the_file(demo_base: Path, tmp_path: Path, name: str) -> None:
    import shutil

    folder = Path(shutil.copytree(demo_base, tmp_path / "base"))
    (folder / name).write_bytes(b"{")

    with pytest.raises(BaseRefused, match=name):
        describe(folder)
    (folder / name).unlink()
    with pytest.raises(BaseRefused, match="copy the base model again"):
        describe(folder)


def test_the_formula_counts_what_the_files_hold(demo_base: Path) -> None:
    from dataclasses import replace

    from core.decide.memory import parameters

    dimensions = describe(demo_base).dimensions

    assert dimensions.counted == parameters(replace(dimensions, counted=None))


def test_without_a_card_the_self_test_says_so_and_what_to_do(tmp_path: Path, evertrain: Run) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a card")
    done = evertrain("doctor", "--gpu-selftest", "--workspace", tmp_path / "none", check=3)

    assert "no CUDA card" in done.stderr
    assert "evertrain doctor" in done.stderr
    assert [] == list(tmp_path.iterdir())
