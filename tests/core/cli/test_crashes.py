"""crashes: the list, one report, and refusals."""

from collections.abc import Callable
from typing import Any

from core.logbook import open_log
from db.workspace import Workspace
from events.types import ProcessCrashed
from projections.crashes import MEANINGS

Run = Callable[..., Any]


def test_crashes_are_listed_newest_first_and_each_can_be_shown(ask: Run, run: Run, place: Workspace) -> None:
    assert [] == ask("crashes")
    assert "Nothing has crashed." in run("crashes").stdout
    log = open_log(place, "watchdog")
    killed = ProcessCrashed(role="daemon", pid=7, exit_code=None, signal="SIGKILL", error="killed by SIGKILL",
                            category="process_killed")  # fmt: skip
    raised = ProcessCrashed(role="trainer", pid=8, exit_code=1, signal=None, error="KeyError at core/x.py:3",
                            category="key_error", phase="load", frames=("core/x.py:3 in look",),
                            resources={"ram_used_bytes": 12_345})  # fmt: skip
    first, second = log.append(killed)[-1], log.append(raised)[-1]
    log.close()
    found = ask("crashes", "list")

    assert found == ask("crashes")
    assert [f"c{second}", f"c{first}"] == [row["id"] for row in found]
    for row in found:
        assert {
            "id", "at", "process", "cause", "category", "advice", "signal", "exit_code", "seq",
        } == row.keys()  # fmt: skip
    assert ("trainer", "key_error", MEANINGS["key_error"].advice, None, 1, second) == tuple(
        found[0][key] for key in ("process", "category", "advice", "signal", "exit_code", "seq")
    )
    assert "SIGKILL" in found[1]["cause"]
    report = ask("crashes", "show", f"c{second}")
    assert report == ask("crashes", "show", str(second))
    assert found[0].items() <= report.items()
    assert (["core/x.py:3 in look"], second - 1) == (report["frames"], report["state_before"])
    shown = run("crashes", "show", f"c{second}").stdout
    assert (
        f"replay --to {second - 1}" in shown and "12,345" in shown and MEANINGS["key_error"].advice in shown
    )
    ask("replay", "--to", str(report["state_before"]))


def test_what_is_no_crash_is_refused_with_the_way_to_the_list(run: Run) -> None:
    for wrong in ("c1", "c999999", "x"):
        assert "crashes list" in run("crashes", "show", wrong, check=2).stderr
