"""Each check of doctor, on the real thing: what it passes, and what it finds wrong."""

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from pathlib import Path

import pytest

from core.decide.memory import GIB, Dimensions, Room, estimate, total
from core.doctor import machine, model, place, software
from core.doctor.finding import OK, PROBLEM, WARN
from core.model.estimate import describe
from core.settings import Settings
from db.workspace import Workspace
from events.types import MemoryMeasured
from projections.memory import EMPTY, apply
from tests.facts import recorded, specimen

NOW = datetime(2026, 6, 1, tzinfo=UTC)
STEADY = (0.05, 0.05)


@pytest.fixture
def fleeting() -> Iterator[Path]:
    """A folder in memory."""
    shm = Path("/dev/shm")
    if not shm.is_dir() or place.kind_of(shm) != "tmpfs":
        pytest.skip("no tmpfs at /dev/shm")
    with tempfile.TemporaryDirectory(dir=shm) as name:
        yield Path(name)


def test_the_software_of_this_environment_is_new_enough() -> None:
    assert OK == software.python().ok
    assert OK == software.libraries(software.installed()).ok
    assert OK == software.sqlite().ok


def test_software_below_a_floor_is_named_with_its_version() -> None:
    old = software.installed() | {"torch": "2.9.1+cu128", "starlette": None}
    found = software.libraries(old)

    assert PROBLEM == software.python((3, 10, 1)).ok
    assert (PROBLEM, True) == (found.ok, bool(found.remedy))
    assert "torch 2.9.1+cu128" in found.detail
    assert "starlette is not installed" in found.detail
    assert "transformers" not in found.detail


def test_a_log_opens_and_a_damaged_one_is_told(workspace: Workspace) -> None:
    assert OK == place.log(workspace.log).ok

    workspace.log.write_bytes(b"no database at all" * 1000)
    for beside in workspace.root.glob("evertrain.sqlite-*"):
        beside.unlink()
    found = place.log(workspace.log)
    assert (PROBLEM, True) == (found.ok, bool(found.remedy))


def test_a_sync_that_no_disk_can_do_and_a_slow_one_are_warned_of(fleeting: Path) -> None:
    measured = place.syncs(fleeting)

    assert place.SYNCS == len(measured)
    assert WARN == place.sync_latency([place.IMPLAUSIBLE_US / 2] * 9).ok
    assert WARN == place.sync_latency([place.SLOW_US * 2] * 9).ok
    assert OK == place.sync_latency([place.IMPLAUSIBLE_US * 50] * 9).ok
    assert [] == list(fleeting.iterdir())


def test_a_part_on_another_file_system_is_a_problem(workspace: Workspace, fleeting: Path) -> None:
    kind = place.kind_of(workspace.root)
    assert OK == place.file_system(workspace.root, workspace, "ext4").ok
    assert WARN == place.file_system(workspace.root, workspace, "nfs4").ok

    if fleeting.stat().st_dev == workspace.root.stat().st_dev:
        pytest.skip("the tests' folder lies in memory as well")
    workspace.backups.rmdir()
    workspace.backups.symlink_to(fleeting)
    found = place.file_system(workspace.root, workspace, kind)
    assert PROBLEM == found.ok
    assert "backups" in found.detail


def test_a_workspace_in_memory_is_warned_of(fleeting: Path) -> None:
    inside = Workspace(fleeting / "workspace")
    inside.lay_out()

    assert WARN == place.file_system(inside.root, inside, place.kind_of(inside.root)).ok


def test_a_place_without_files_is_a_problem() -> None:
    nowhere = Workspace(Path("/proc"))

    assert PROBLEM == place.permissions(nowhere.root, True).ok
    assert PROBLEM == place.file_system(nowhere.root, nowhere, "proc").ok


def test_permissions_are_for_the_owner_alone(workspace: Workspace) -> None:
    assert [OK, OK] == [place.permissions(workspace.root, made).ok for made in (True, False)]

    workspace.root.chmod(0o755)
    found = place.permissions(workspace.root, True)
    assert (WARN, f"chmod 700 {workspace.root}") == (found.ok, found.remedy)


def test_free_space_is_held_against_floor_and_target() -> None:
    settings = replace(Settings(), disk_floor_gb=10, disk_target_gb=50)
    levels = [place.disk(int(free * 1e9), int(1e12), settings).ok for free in (9, 11, 51)]

    assert [PROBLEM, WARN, OK] == levels
    assert WARN == place.disk(int(6e9), int(1e11), settings).ok  # the floor is capped on a small disk


def test_a_port_that_a_stranger_holds_is_a_problem(workspace: Workspace) -> None:
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen(1)
        number = stranger.getsockname()[1]
        held = machine.port(number, workspace.locks)

    assert (PROBLEM, True) == (held.ok, str(number) in held.detail)
    assert OK == machine.port(number, workspace.locks).ok


def test_a_port_that_our_own_monitor_holds_is_fine(workspace: Workspace) -> None:
    code = (
        "import socket, sys; from pathlib import Path; from db.processes import RoleLock\n"
        "lock = RoleLock(Path(sys.argv[1]), 'monitor').acquire()\n"
        "s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(1)\n"
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-P", "-c", code, str(workspace.locks)], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)},
    ) as monitor:  # fmt: skip
        assert monitor.stdout is not None
        found = machine.port(int(monitor.stdout.readline()), workspace.locks)
        monitor.communicate()

    assert (OK, True) == (found.ok, str(monitor.pid) in found.detail)


def test_a_clock_is_plausible_after_the_newest_fact_and_steady() -> None:
    hour = timedelta(hours=1)

    assert OK == machine.clock(datetime.now(UTC), None, machine.ticks()).ok
    assert OK == machine.clock(NOW, NOW - hour, STEADY).ok
    assert WARN == machine.clock(NOW, NOW + hour, STEADY).ok
    assert WARN == machine.clock(NOW, None, (-30.0, 0.05)).ok
    assert PROBLEM == machine.clock(datetime(1970, 1, 1, tzinfo=UTC), None, STEADY).ok


def test_a_card_that_torch_does_not_see_is_a_problem() -> None:
    card = {"name": "Card", "memory_total_bytes": 24 * GIB}

    assert WARN == machine.gpu([], None, "cpu").ok
    assert PROBLEM == machine.gpu([card], "575.1", "cpu").ok
    assert (OK, True) == ((found := machine.gpu([card], "575.1", "cuda")).ok, "575.1" in found.detail)


def test_main_memory_has_two_thresholds() -> None:
    levels = [machine.ram(int(free * GIB), 32 * GIB).ok for free in (0.5, 2, 8)]

    assert [PROBLEM, WARN, OK] == levels


def test_a_wrong_key_is_found_in_the_config(workspace: Workspace) -> None:
    assert OK == model.config(workspace.config).ok

    workspace.config.write_text('{"epoch": 3}')
    found = model.config(workspace.config)
    assert (PROBLEM, True) == (found.ok, "epoch: unknown key" in found.detail)


def test_a_base_is_described_and_a_missing_tokenizer_is_a_problem(demo_base: Path, tmp_path: Path) -> None:
    import json
    import shutil

    folder = Path(shutil.copytree(demo_base, tmp_path / "base"))
    whole = describe(folder)
    assert OK == model.base_model(folder, whole).ok
    assert "tied" in model.base_model(folder, whole).detail
    assert PROBLEM == model.base_model(folder, replace(whole, pad_token_id=whole.eos_token_id)).ok

    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").unlink()
    assert PROBLEM == model.base_model(folder, whole).ok
    (folder / "tokenizer.json").symlink_to("/proc/self/mem")    # opens, and fails where it is read
    found = model.base_model(folder, whole)
    assert (PROBLEM, f"{folder}/tokenizer.json: Input/output error") == (found.ok, found.detail)
    (folder / "tokenizer.json").unlink()

    for token in tokenizer["added_tokens"]:
        token["content"] = token["content"].replace("im_", "xx_")
    tokenizer["model"]["vocab"] = {
        k.replace("<|im_", "<|xx_"): v for k, v in tokenizer["model"]["vocab"].items()
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "eos_token": "<|endoftext|>"}))
    assert WARN == model.base_model(folder, whole).ok  # plain text alone can be trained


def test_the_estimate_is_held_against_the_memory_there_is(demo_base: Path) -> None:
    small = describe(demo_base).dimensions
    settings = replace(Settings(), max_length=128, gradient_checkpointing=True)
    terms = estimate(small, tokens=128, precision="auto", checkpointing=True, device="cpu")
    least, most = total(terms).low, total(terms).high
    rooms = [Room("cpu", size, size) for size in (least // 2, (least + most) // 2, most)]
    found = [model.memory(small, settings, room, EMPTY)[0] for room in rooms]

    assert [PROBLEM, WARN, OK] == [finding.ok for finding in found]
    assert [True, True, False] == [bool(finding.remedy) for finding in found]


def test_the_sum_for_qwen3_is_shown_with_the_cards_that_suffice() -> None:
    qwen = Dimensions(
        layers=28, hidden=1024, intermediate=3072, heads=16, kv_heads=8, head_size=128, vocabulary=151_936,
        tied=True, qk_norm=True, counted=596_049_920,
    )  # fmt: skip
    room = Room("cuda", 24 * 10**9, 64 * GIB)
    finding, chosen = model.memory(qwen, Settings(), room, EMPTY)
    bare, _ = model.memory(replace(qwen, known=False), Settings(), Room("cpu", 9 * GIB, 9 * GIB), EMPTY)

    assert (OK, True, 0) == (finding.ok, chosen.checkpointing, chosen.halvings)
    assert "weights 2.22 + gradients 2.22 + moments 4.44" in finding.detail
    assert " 24 GB with activations computed again" in finding.detail.split("fp32 master weights: ")[1]
    assert "activations computed again, micro-batches of 4,096 tokens" in finding.detail
    assert "guessed" in bare.detail and "guessed" not in finding.detail
    assert "fp32 master weights" in bare.detail


def test_a_measured_peak_corrects_what_doctor_expects(demo_base: Path) -> None:
    small, room = describe(demo_base).dimensions, Room("cpu", 64 * GIB, 64 * GIB)
    settings = Settings()
    _, chosen = model.memory(small, settings, room, EMPTY)
    told = specimen(
        MemoryMeasured, device="cpu", precision=settings.precision, checkpointing=chosen.checkpointing,
        tokens=chosen.tokens, steps=9, peak_bytes=150, expected_bytes=100,
    )  # fmt: skip
    measured = reduce(apply, recorded([told]), EMPTY)
    finding, corrected = model.memory(small, settings, room, measured)

    assert (1.0, 1.5) == (chosen.ratio, corrected.ratio)
    assert "x 1.50 as measured" in finding.detail
