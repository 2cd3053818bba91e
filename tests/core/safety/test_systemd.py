"""The service under systemd: what it says to it, and a unit that fits what the watchdog does."""

import configparser
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest

from core.safety.notify import Systemd
from core.safety.vigil import Patience
from db.workspace import Workspace
from tests.conftest import tool
from tests.core.safety.watch import standing, watching

UNIT = Path(__file__).parents[3] / "docs" / "evertrain.service"


def heard(listener: socket.socket) -> list[str]:
    """What has come in so far."""
    listener.setblocking(False)
    found = []
    while True:
        try:
            found.append(listener.recv(4096).decode())
        except BlockingIOError:
            return found


@pytest.mark.parametrize("shape", ["/{folder}/notify", "@{folder}/notify"])
def test_ready_alive_and_stopping_are_told_in_systemds_words(tmp_path: Path, shape: str) -> None:
    name = shape.format(folder=str(tmp_path)[1:])
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name.replace("@", "\0", 1))
        unit = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": f"{os.getpid()}"}
        systemd = Systemd(unit)
        systemd.ready()
        for now in (100.0, 100.1, 101.9, 102.0, 103.0, 104.0):
            systemd.alive(now)
        systemd.stopping()

        assert ["READY=1", *["WATCHDOG=1"] * 3, "STOPPING=1"] == heard(listener)


def test_without_systemd_and_after_it_is_gone_nothing_happens(tmp_path: Path) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "1"}):
        systemd = Systemd(environment)
        systemd.ready()
        systemd.alive(time.monotonic())

        assert [] == list(tmp_path.iterdir())


def test_nobody_who_reads_is_nobody_who_is_waited_for(tmp_path: Path) -> None:
    name, sent = str(tmp_path / "notify"), 5000
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name)
        systemd = Systemd({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1"})
        for now in range(sent):
            systemd.alive(float(now))

        assert 0 < len(heard(listener)) < sent


def test_the_pings_of_another_process_are_not_ours_to_send(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name)
        Systemd({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}).alive(100.0)

        assert [] == heard(listener)


def test_the_real_watchdog_tells_it_and_its_children_do_not(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name)
        with watching(workspace, {"monitor": standing(workspace, "monitor", "idle", "never")}) as watch:
            watch.wait(lambda: watch.beat("monitor")["progress"], what="the child")
            pid = watch.beat("monitor")["pid"]
            inherited = Path(f"/proc/{pid}/environ").read_bytes()
            assert 0 == watch.end()
        told = heard(listener)

    assert b"NOTIFY_SOCKET" not in inherited
    assert ("READY=1", "STOPPING=1") == (told[0], next(t for t in told if t.startswith("STOP")))
    assert "WATCHDOG=1" in told


def test_the_unit_leaves_the_service_the_time_it_takes() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment]
    unit.read(UNIT, encoding="utf-8")
    service = unit["Service"]

    assert int(service["TimeoutStopSec"]) > Patience().stopping + Patience().grace
    assert int(service["WatchdogSec"]) > 2 * Patience().asleep
    assert ("notify", "mixed", "always", "0077") == tuple(
        service[key] for key in ("Type", "KillMode", "Restart", "UMask")
    )
    assert ("strict", "yes") == (service["ProtectSystem"], service["NoNewPrivileges"])
    assert "0" == unit["Unit"]["StartLimitIntervalSec"]  # never giving up
    written = service["ReadWritePaths"]
    assert service["ExecStart"].split("--workspace ")[1].startswith(f"{written}/")


def test_systemd_itself_understands_the_unit(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze", "systemd-analyze")
    text = UNIT.read_text(encoding="utf-8")
    program, user = text.split("ExecStart=")[1].split()[0], text.split("User=")[1].split()[0]
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace(program, shutil.which("true") or "").replace(f"={user}", "=root"))
    done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, timeout=60)

    assert [] == [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert 0 == done.returncode
