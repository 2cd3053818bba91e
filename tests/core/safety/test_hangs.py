"""Standing still: found in each phase, ended with all it started, told with its place; slow is not hung."""

import os
import shutil
import signal
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import psutil

from core.decide.hang import FLOORS
from core.logbook import open_log
from core.safety.children import left_behind
from db.workspace import Workspace
from events.types import ProcessCrashed, ProcessHung, ProcessRestarted, ProcessStarted
from tests.core.safety.watch import LOAD_SECONDS, SECONDS, Watch, open_run, standing, watching
from tests.facts import specimen


def several(workspace: Workspace, count: int) -> list[Workspace]:
    copies = [Workspace(workspace.root.with_name(f"copy-{n}")) for n in range(count)]
    for copy in copies:
        shutil.copytree(workspace.root, copy.root)
        open_run(copy)
    return copies


def lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def works_again(watch: Watch, role: str) -> None:
    """The next one beats for longer than the limit."""
    watch.first(ProcessRestarted)
    (hung,) = watch.facts(ProcessHung)
    watch.wait(lambda: watch.beat(role)["pid"] not in (None, hung.pid), what="a new process")
    first = watch.beat(role)["progress"]
    watch.wait(lambda: (watch.beat(role)["progress"] or 0) > (first or 0) + 3, what="its beats")


def test_a_hang_in_each_phase_is_found_within_twice_its_limit(workspace: Workspace) -> None:
    limits = dict.fromkeys(FLOORS, SECONDS) | {"load": 20.0}
    with ExitStack() as stack:
        watches = {}
        for phase, copy in zip(FLOORS, several(workspace, len(FLOORS)), strict=True):
            way = "unheard" if phase == "load" else "blocked"
            commands = {"trainer": standing(copy, "trainer", phase, way)}
            load = limits["load"] if phase == "load" else LOAD_SECONDS
            watches[phase] = stack.enter_context(watching(copy, commands, load=load))
        for phase, watch in watches.items():
            hung, crash = watch.first(ProcessHung), watch.first(ProcessCrashed)
            works_again(watch, "trainer")
            print(f"{phase}: found after {hung.silent_seconds / hung.limit_seconds:.2f} of its limit")

            assert ("trainer", phase) == (hung.role, hung.phase)
            assert limits[phase] <= hung.limit_seconds < hung.silent_seconds < 2 * hung.limit_seconds
            assert ("timeout", phase, hung.pid, "r1") == (crash.category, crash.phase, crash.pid, crash.run)
            assert hung.frames == crash.frames
            assert (phase != "load") == any(place.endswith(" in stand_still") for place in hung.frames)
            assert 1 == len(watch.facts(ProcessHung))


def test_daemon_and_monitor_are_watched_as_well(workspace: Workspace) -> None:
    commands = {role: standing(workspace, role, "idle", "blocked") for role in ("daemon", "monitor")}
    with watching(workspace, commands) as watch:
        watch.first(ProcessRestarted, n=2)

        assert {"daemon", "monitor"} == {hung.role for hung in watch.facts(ProcessHung)}
        assert {"timeout"} == {crash.category for crash in watch.facts(ProcessCrashed)}


def test_one_that_is_deaf_is_killed_with_all_that_it_started(workspace: Workspace) -> None:
    with watching(workspace, {"daemon": standing(workspace, "daemon", "idle", "deaf")}) as watch:
        hung = watch.first(ProcessHung)
        others = [pid for pid in left_behind(workspace, "daemon") if pid != hung.pid]
        crash = watch.first(ProcessCrashed)
        watch.wait(lambda: not any(map(lives, others)), what="its children to be gone")

        assert 2 == len(others)
        assert ("SIGKILL", "timeout") == (crash.signal, crash.category)
        assert "no progress in the phase idle for 5 s (limit 5 s)" == crash.error


def test_a_stopped_process_is_found_and_cannot_say_where_it_stood(workspace: Workspace) -> None:
    with watching(workspace, {"daemon": standing(workspace, "daemon", "idle", "stopped")}) as watch:
        hung, crash = watch.first(ProcessHung), watch.first(ProcessCrashed)
        works_again(watch, "daemon")

        assert () == hung.frames
        assert ("SIGKILL", "timeout") == (crash.signal, crash.category)


def test_of_all_that_a_locked_log_silences_only_the_one_that_locks_it_is_ended(workspace: Workspace) -> None:
    commands = {
        "daemon": standing(workspace, "daemon", "save", "stopped in a transaction"),
        "monitor": standing(workspace, "monitor", "idle", "never"),
    }
    with watching(workspace, commands) as watch:
        watch.first(ProcessRestarted)
        works_again(watch, "daemon")
        time.sleep(SECONDS + 1)

        assert ["daemon"] == [hung.role for hung in watch.facts(ProcessHung)]
        assert ["daemon"] == [crash.role for crash in watch.facts(ProcessCrashed)]


def test_steps_ten_times_slower_than_before_are_left_alone(workspace: Workspace) -> None:
    open_run(workspace)
    turn = 0.05  # fifty turns teach a limit of 1 s; ten times slower is 0.5 s
    with watching(workspace, {"trainer": standing(workspace, "trainer", "step", "slow", turn)}) as watch:
        watch.wait(lambda: (watch.beat("trainer")["progress"] or 0) >= 60, what="slow steps")
        beats = []
        for _ in range(50):
            beats.append((watch.beat("trainer")["progress"], time.monotonic()))
            time.sleep(0.1)
        gaps = [b[1] - a[1] for a, b in pairwise({n: at for n, at in reversed(beats)}.items())]

        assert [] == watch.facts(ProcessHung)
        assert 1 == len([e for e in watch.facts(ProcessStarted) if e.role == "trainer"])
        assert max(map(abs, gaps)) > 5 * turn


def test_a_machine_that_slept_wakes_to_no_alarm(workspace: Workspace) -> None:
    commands = {role: standing(workspace, role, "idle", "never") for role in ("daemon", "monitor")}
    with watching(workspace, commands, asleep=2.0) as watch:
        watch.wait(lambda: all(watch.beat(role)["progress"] for role in commands), what="both to beat")
        pids = [watch.process.pid, *left_behind(workspace)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(SECONDS + 1)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        before = {role: watch.beat(role)["progress"] for role in commands}
        watch.wait(lambda: all(watch.beat(r)["progress"] > before[r] + 20 for r in commands), what="beats")

        assert [] == watch.facts(ProcessHung)
        assert sorted(pids) == sorted([watch.process.pid, *left_behind(workspace)])


def test_one_that_does_not_end_with_the_service_is_killed_and_told_as_such(workspace: Workspace) -> None:
    with watching(
        workspace, {"daemon": standing(workspace, "daemon", "idle", "deaf")}, seconds=600.0
    ) as watch:
        watch.wait(lambda: len(left_behind(workspace, "daemon")) == 3, what="its children")
        assert 0 == watch.end()

        (crash,) = watch.facts(ProcessCrashed)
        assert ("timeout", "idle", "SIGKILL") == (crash.category, crash.phase, crash.signal)
        assert [] == left_behind(workspace)


def test_what_an_earlier_service_left_behind_is_ended_at_the_next_start(
    workspace: Workspace, tmp_path: Path
) -> None:
    with watching(
        workspace, {"daemon": standing(workspace, "daemon", "idle", "deaf")}, seconds=600.0
    ) as watch:
        watch.wait(lambda: len(left_behind(workspace, "daemon")) == 3, what="its children")
        # one that has neither our environment nor a leader of ours could be anybody's
        left = [pid for pid in left_behind(workspace) if psutil.Process(pid).environ()]
        watch.process.kill()
        watch.process.wait()
        with watching(workspace, {"monitor": standing(workspace, "monitor", "idle", "never")}) as second:
            second.wait(lambda: second.beat("monitor")["progress"], what="the second service")

            assert 2 == len(left)
            assert not any(map(lives, left))


def test_one_that_hung_when_the_service_was_killed_gets_its_end_at_the_next_start(
    workspace: Workspace,
) -> None:
    open_run(workspace)
    log = open_log(workspace, "watchdog")
    hung = specimen(ProcessHung, role="daemon", pid=2**22 + 1)
    log.append(specimen(ProcessStarted, role="daemon", pid=hung.pid), hung)
    log.close()
    with watching(workspace, {"monitor": standing(workspace, "monitor", "idle", "never")}) as watch:
        crash = watch.first(ProcessCrashed)

        assert ("daemon", hung.pid, "gone") == (crash.role, crash.pid, crash.category)
