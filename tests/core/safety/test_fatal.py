"""What no further try cures: an alert at once instead of a loop, no file blamed, gone when it is mended."""

import time

import pytest

from core.decide.crash import relief
from db.workspace import Workspace
from events.types import AlertCleared, AlertRaised, ProcessCrashed, ProcessStarted
from projections.crashes import INCURABLE
from projections.status import document
from tests.core.safety.watch import open_run, standing, watching
from tests.projections.story import Tale


def test_a_missing_package_is_an_alert_at_once_and_no_loop(workspace: Workspace) -> None:
    open_run(workspace)
    dying = ["tests.core.safety.dying", "import", str(workspace.notes)]
    with watching(workspace, {"trainer": dying}) as watch:
        alert = watch.first(AlertRaised)
        time.sleep(2)  # in which the usual delay would have led to another death

        assert ("fatal", "fatal:trainer") == (alert.severity, alert.type)
        assert "the trainer cannot work: a Python package is missing" in alert.detail
        assert ["import_error"] == [crash.category for crash in watch.facts(ProcessCrashed)]
        assert 1 == len([e for e in watch.facts(ProcessStarted) if e.role == "trainer"])


def test_the_alert_goes_once_the_process_works_again(workspace: Workspace) -> None:
    open_run(workspace)
    command = {"trainer": standing(workspace, "trainer", "step", "never")}
    with watching(workspace, command) as watch:
        watch.log.append(AlertRaised(severity="fatal", type="fatal:trainer", detail="gone"))

        assert "fatal:trainer" == watch.first(AlertCleared).type


def crashed(category: str, role: str = "trainer") -> ProcessCrashed:
    return ProcessCrashed(
        role=role, pid=7, exit_code=1, signal=None, error="x", run="r1", step=0, category=category
    )


@pytest.mark.parametrize("category", INCURABLE)
def test_no_file_is_given_up_for_what_it_did_not_do(category: str) -> None:
    tale = Tale()
    tale.queues("a")
    tale.starts("a", "r1")
    for _ in range(20):
        tale.tell(crashed(category))

    assert 0 == tale.state.run.runs["r1"].tries


def test_the_service_fails_by_it_and_nobody_else_is_relieved() -> None:
    tale = Tale()
    tale.queues("a")
    tale.starts("a", "r1")
    tale.tell(AlertRaised(severity="fatal", type="fatal:trainer", detail="a package is missing"))

    assert "failed" == document(tale.state, [], {}, {}, 0)["status"]
    assert [] == relief(tale.state, "trainer", None) == relief(tale.state, "trainer", "load")
    assert [] == relief(tale.state, "daemon", "idle")
    assert [AlertCleared(type="fatal:trainer")] == relief(tale.state, "trainer", "step")


def test_when_its_run_has_ended_nothing_is_asked_of_the_trainer() -> None:
    tale = Tale()
    tale.begins()
    tale.tell(AlertRaised(severity="fatal", type="fatal:trainer", detail="gone"))

    assert [AlertCleared(type="fatal:trainer")] == relief(tale.state, "trainer", None)
