"""The children: what each end of a process means, and what becomes a crash with its evidence."""

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest

from core.decide.dispatch import restart_delay
from core.jobs.service import Service
from core.safety.children import PORT_TAKEN, ROLE_TAKEN, Child, ending
from core.safety.watchdog import Watchdog
from db.notes import leave_note
from db.processes import PARENT, RoleLock, RoleTaken
from events.types import ProcessCrashed, ProcessExited
from tests.projections.story import Tale


def ended(service: Service, code: str, role: str = "daemon", *, asked: bool = False) -> Any:
    """The fact of a child's end, of a real process that ran this code."""

    child = Child(role, [])
    child.process = subprocess.Popen([sys.executable, "-c", code])
    child.process.wait(20)
    return ending(child, service.state(), service.log, service.workspace, asked=asked)


@pytest.mark.parametrize(
    ("code", "reason"),
    [(0, ""), (100, ""), (101, ""), (PORT_TAKEN, "its port is taken"), (ROLE_TAKEN, "its role is taken")],
)
def test_an_expected_end_is_no_crash(service: Service, code: int, reason: str) -> None:
    fact = ended(service, f"raise SystemExit({code})")

    assert isinstance(fact, ProcessExited)
    assert (code, reason) == (fact.exit_code, fact.reason)


def test_a_term_that_was_asked_for_is_an_end_and_any_other_is_a_crash(service: Service) -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"

    assert isinstance(ended(service, code, asked=True), ProcessExited)
    crash = ended(service, code)
    assert isinstance(crash, ProcessCrashed)
    assert (None, "SIGTERM", "killed by SIGTERM") == (crash.exit_code, crash.signal, crash.error)


def test_a_crash_carries_the_note_that_was_left(service: Service) -> None:
    silent = ended(service, "raise SystemExit(7)")
    with pytest.raises(ValueError, match="row"), leave_note(service.workspace.notes, "daemon"):
        raise ValueError("a secret row")
    told = ended(service, "raise SystemExit(1)")

    assert isinstance(silent, ProcessCrashed)
    assert isinstance(told, ProcessCrashed)
    assert ("exit code 7", None, None) == (silent.error, silent.run, silent.step)
    assert told.error.startswith("ValueError at ")
    assert "secret" not in told.error


def test_a_trainers_crash_names_the_run_and_how_far_it_came(service: Service) -> None:
    tale = Tale()
    tale.queues("a")
    tale.starts("a", "r1", at=100)
    tale.steps("r1", 1, 4, at=100)
    tale.steps("r1", 5, 3, at=100)
    service.log.append(*tale.facts)
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"

    trainer, daemon = ended(service, kill, "trainer"), ended(service, kill, "daemon")

    assert ("r1", 7, "SIGKILL") == (trainer.run, trainer.step, trainer.signal)
    assert (None, None) == (daemon.run, daemon.step)


def test_a_child_gets_the_workspaces_caches_and_is_told_its_parent(service: Service) -> None:
    tell = "import json, os; print(json.dumps(dict(os.environ)))"
    child = Child("probe", ["timeit", "-n", "1", "-r", "1", tell])
    child.start(service.workspace)
    assert child.process is not None
    child.process.wait(20)
    said = (service.workspace.notes / "probe.err").read_text(encoding="utf-8").splitlines()
    environment = json.loads(said[0])
    child.send(signal.SIGTERM)  # to a dead one: nothing happens

    assert service.workspace.environment().items() <= environment.items()
    assert str(os.getpid()) == environment[PARENT]
    assert os.environ.get("OMP_WAIT_POLICY", "PASSIVE") == environment["OMP_WAIT_POLICY"]
    assert not child.is_alive
    assert 0 == child.process.returncode


def test_a_second_watchdog_changes_nothing(service: Service) -> None:
    head = service.log.head()
    with RoleLock(service.workspace.locks, "watchdog"), pytest.raises(RoleTaken):
        Watchdog(service.workspace, host="127.0.0.1", port=0).run()

    assert head == service.log.head()


def test_a_first_crash_restarts_at_once_and_a_row_of_them_ever_later() -> None:
    delays = [restart_delay(n, progressed=False) for n in range(1, 20)]

    assert sorted(delays) == delays
    assert delays[0] < 1
    assert 300 == delays[-1]
