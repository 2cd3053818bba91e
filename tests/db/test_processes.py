"""Roles: one process each, known by an OS lock that dies with its holder."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from db.notes import leave_note, read_note
from db.processes import PARENT, RoleLock, RoleTaken, holder
from db.workspace import find

ROOT = Path(__file__).parents[2]

HOLD = """
import sys, time
from pathlib import Path
from db.processes import RoleLock
RoleLock(Path(sys.argv[1]), "daemon").acquire()
print("held", flush=True)
time.sleep(60)
"""


def child(code: str, *arguments: object, **environment: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )


def test_the_second_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with RoleLock(tmp_path, "daemon"):
        with pytest.raises(RoleTaken, match=f"process {os.getpid()} is already the daemon") as refusal:
            RoleLock(tmp_path, "daemon").acquire()
        taken = holder(tmp_path, "daemon")
        RoleLock(tmp_path, "trainer").acquire().release()

    assert os.getpid() == refusal.value.pid == taken
    assert holder(tmp_path, "daemon") is None
    assert holder(tmp_path, "never") is None
    RoleLock(tmp_path, "daemon").acquire().release()


def test_another_process_is_named_and_its_death_frees_the_role(tmp_path: Path) -> None:
    other = child(HOLD, tmp_path)
    assert other.stdout is not None
    with other, other.stdout:
        assert "held\n" == other.stdout.readline()
        named = holder(tmp_path, "daemon")
        with pytest.raises(RoleTaken) as refusal:
            RoleLock(tmp_path, "daemon").acquire()
        other.send_signal(signal.SIGKILL)

    assert other.pid == named == refusal.value.pid
    with RoleLock(tmp_path, "daemon"):
        assert os.getpid() == holder(tmp_path, "daemon")


def test_two_names_of_a_workspace_are_one_lock(tmp_path: Path) -> None:
    real = find(tmp_path / "real")
    real.lay_out()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    linked = find(tmp_path / "link")

    with RoleLock(linked.locks, "watchdog"), pytest.raises(RoleTaken):
        RoleLock(real.locks, "watchdog").acquire()


def test_a_lock_without_a_name_in_it_is_still_a_lock(tmp_path: Path) -> None:
    with RoleLock(tmp_path, "daemon"):
        (tmp_path / "daemon.lock").write_text("")
        nameless = holder(tmp_path, "daemon")
        with pytest.raises(RoleTaken, match="another process"):
            RoleLock(tmp_path, "daemon").acquire()

    assert 0 == nameless


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    inner = (
        "from db.processes import die_with_parent\nimport os, time\n"
        "die_with_parent()\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n"
    )
    outer = (
        "import os, subprocess, sys, time\n"
        f"os.environ[{PARENT!r}] = str(os.getpid())\n"
        "subprocess.Popen([sys.executable, '-P', '-c', sys.argv[1]])\ntime.sleep(60)\n"
    )
    parent = child(outer, inner)
    assert parent.stdout is not None
    with parent, parent.stdout:
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while _lives(pid) and time.monotonic() < deadline:
        time.sleep(0.02)

    assert not _lives(pid)


def _lives(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_a_child_whose_parent_is_gone_already_does_not_begin() -> None:
    code = "from db.processes import die_with_parent\ndie_with_parent()\nprint('began')\n"
    orphan = child(code, **{PARENT: "1"})
    out, _ = orphan.communicate(timeout=20)

    assert (1, "") == (orphan.returncode, out)


def test_a_note_names_the_place_and_never_the_text(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="secret row"), leave_note(tmp_path / "notes", "trainer"):
        raise ValueError("secret row")
    note = (tmp_path / "notes" / "trainer.json").read_text()

    read = read_note(tmp_path / "notes", "trainer")
    assert read is not None and read["error"].startswith("ValueError at")
    assert [["ValueError", "Exception"]] == [raised["types"] for raised in read["raised"]]
    assert "test_processes.py" in json.loads(note)["error"]
    assert "secret" not in note


def test_a_process_that_ends_well_leaves_no_note_and_takes_the_old_one_away(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x"), leave_note(tmp_path, "trainer"):
        raise ValueError("x")
    with leave_note(tmp_path, "trainer"):
        pass

    assert read_note(tmp_path, "trainer") is None
