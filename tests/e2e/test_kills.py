"""SIGKILL at any moment changes nothing of what comes out."""

import contextlib
import os
import random
import signal
import time

import psutil
import pytest

from events.types import AlertRaised, ProcessCrashed
from tests.e2e.stage import Outcome, Stage, expected_rows, outcome, terminal_states, wait


@pytest.mark.parametrize(
    "kills", [pytest.param(2, id="2 kills"), pytest.param(5, id="5 kills", marks=pytest.mark.chaos)]
)
@pytest.mark.timeout(900)
def test_a_killed_trainer_goes_on_bit_for_bit(stage: Stage, undisturbed: Outcome, kills: int) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    process = stage.serve("--until-idle")
    last = undisturbed.global_step
    killed = 0
    for at in sorted(chance.sample(range(1, last), kills)):
        wait(lambda at=at: stage.step() >= at or process.poll() is not None, 120, f"step {at}")
        time.sleep(chance.uniform(0, 0.2))
        if (pid := stage.pid("trainer")) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed += 1
    time.sleep(chance.uniform(0, 6))
    stage.kill_all()
    assert 0 == stage.serve_until_idle()

    assert undisturbed == outcome(stage.root)
    assert expected_rows(stage) == outcome(stage.root).rows
    assert {1} == set(terminal_states(stage).values())
    raised = [recorded.event for recorded in stage.facts(AlertRaised)]
    assert "steps_differ" not in {alert.type for alert in raised if isinstance(alert, AlertRaised)}
    crashes = [recorded.event for recorded in stage.facts(ProcessCrashed)]
    by_kill = [
        c for c in crashes if isinstance(c, ProcessCrashed) and c.role == "trainer" and c.signal == "SIGKILL"
    ]
    assert killed - 1 <= len(by_kill) <= killed  # the last may have died with the group, untold


def test_a_killed_watchdog_leaves_no_process_behind(stage: Stage) -> None:
    process = stage.serve()
    wait(lambda: stage.pid("trainer") is not None and stage.pid("monitor") is not None, 60, "all children")
    assert 4 == len(stage.processes())
    process.send_signal(signal.SIGKILL)
    process.wait()

    wait(lambda: not stage.processes(), 5, "the children to be gone")
    with stage.serving():
        wait(lambda: stage.pid("daemon") is not None, 30, "the daemon")

    told = [recorded.event for recorded in stage.facts(ProcessCrashed)]
    gone = {e.role for e in told if isinstance(e, ProcessCrashed) and e.category == "gone"}
    assert {"watchdog", "daemon", "monitor", "trainer"} == gone


def test_a_dead_daemon_and_a_dead_monitor_are_started_again(stage: Stage) -> None:
    with stage.serving():
        for role in ("daemon", "monitor"):
            wait(lambda role=role: stage.pid(role) is not None, 30, role)
            first = stage.pid(role)
            assert first is not None
            psutil.Process(first).kill()
            wait(lambda role=role, first=first: stage.pid(role) not in (None, first), 30, f"a new {role}")


def test_a_second_service_is_refused_and_names_the_first(stage: Stage, evertrain: object) -> None:
    assert callable(evertrain)
    with stage.serving():
        assert stage.process is not None
        wait(lambda: stage.pid("daemon") is not None, 30, "the daemon")
        link = stage.root.with_name("link")
        link.symlink_to(stage.root)
        before = stage.state().health.processes["watchdog"]
        for where in (stage.root, link):
            refused = evertrain("serve", "--workspace", where, "--port", stage.port + 1, check=3)

            assert str(stage.process.pid) in refused.stderr
        assert before == stage.state().health.processes["watchdog"]
