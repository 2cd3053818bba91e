"""The small jobs: settings, resume points, the status file, the day's log, and what a failing job does."""

import json
import shutil
import time
from pathlib import Path

import pytest

from core.jobs.arrange import arrange
from core.jobs.configuration import configuration
from core.jobs.dispatch import start_next
from core.jobs.retention import retention
from core.jobs.service import Service
from core.jobs.showing import Journal, StatusFile, document
from core.jobs.table import Inbox, Job, jobs, run
from events.types import (
    AlertCleared,
    AlertRaised,
    CheckpointDeleted,
    CheckpointRetired,
    ConfigChanged,
    ConfigRefused,
    JobFailed,
    PauseRequested,
    StepsCompleted,
)
from tests.core.jobs.work import drop, facts, resume_point, take_in


def edit(service: Service, **changes: object) -> None:
    config = json.loads(service.workspace.config.read_text())
    service.workspace.config.write_text(json.dumps(config | changes))
    configuration(service)


def test_an_edit_becomes_a_fact_with_what_changed(service: Service) -> None:
    before = service.settings()
    edit(service, epochs=3, learning_rate=1e-4)
    configuration(service)

    (_, fact) = facts(service, ConfigChanged)

    assert isinstance(fact, ConfigChanged)
    assert {"epochs": [before.epochs, 3], "learning_rate": [before.learning_rate, 1e-4]} == fact.changes
    assert (3, 1e-4) == (service.settings().epochs, service.settings().learning_rate)


def test_an_unchanged_file_is_no_news(service: Service) -> None:
    head = service.log.head()
    configuration(service)
    service.workspace.config.write_text(
        json.dumps(json.loads(service.workspace.config.read_text()), indent=7)
    )
    configuration(service)

    assert head == service.log.head()


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"epochs": 0}', '{"epoch": 1}', '{"epochs": "1"}', "\udcff", None]
)
def test_a_wrong_config_is_refused_once_and_the_old_stays_in_force(
    service: Service, text: str | None
) -> None:
    before, path = service.settings(), service.workspace.config
    good = path.read_text()
    if text is None:
        path.unlink()
    else:
        path.write_bytes(text.encode(errors="surrogateescape"))
    configuration(service)
    configuration(service)
    refused = facts(service, ConfigRefused, AlertRaised)
    during = service.settings()
    path.write_text(good)
    configuration(service)
    configuration(service)

    assert ["ConfigRefused", "AlertRaised"] == [type(fact).__name__ for fact in refused]
    assert before == during == service.settings()
    assert 1 == len(facts(service, AlertCleared))
    assert {} == dict(service.state().health.alerts)
    assert () == service.state().workspace.refused


def test_another_mistake_is_another_refusal(service: Service) -> None:
    edit(service, epochs=0)
    edit(service, epochs=-1)

    assert 2 == len(facts(service, ConfigRefused))


# -- resume points -----------------------------------------------------------------------------------


def training(service: Service, saved: int) -> list[str]:
    drop(service, "a.jsonl")
    take_in(service)
    start_next(service)
    arrange(service)
    current = service.state().run.current
    assert current is not None
    return [resume_point(service, current.id, step) for step in range(1, saved + 1)]


def on_disk(service: Service) -> set[str]:
    return {service.workspace.relative(path) for path in service.workspace.current_model.glob("checkpoint-*")}


def test_only_the_newest_resume_points_stay_and_each_deletion_is_two_facts(service: Service) -> None:
    edit(service, checkpoints_keep=2)
    paths = training(service, 5)
    stranger = service.workspace.current_model / "checkpoint-99999"
    stranger.mkdir()
    retention(service)
    retention(service)

    assert {*paths[3:], "models/current_model/checkpoint-99999"} == on_disk(service)
    assert paths[:3] == [
        f.path for f in facts(service, CheckpointDeleted) if isinstance(f, CheckpointDeleted)
    ]
    assert 3 == len(facts(service, CheckpointRetired))


@pytest.mark.parametrize("crash", ["condemned", "half deleted", "deleted"])
def test_a_deletion_that_was_cut_short_is_finished(service: Service, crash: str) -> None:
    edit(service, checkpoints_keep=5)
    paths = training(service, 2)
    service.log.append(CheckpointRetired(path=paths[0], reason="beyond checkpoints_keep"))
    folder = service.workspace.root / paths[0]
    if crash == "half deleted":
        (folder / "model.safetensors").unlink()
    if crash == "deleted":
        shutil.rmtree(folder)
    retention(service)

    assert {paths[1]} == on_disk(service)
    assert [CheckpointDeleted(path=paths[0])] == facts(service, CheckpointDeleted)


# -- showing -------------------------------------------------------------------------------------------


def test_the_status_file_is_written_when_something_changed(service: Service) -> None:
    shown = StatusFile()
    shown.write(service)
    first = service.workspace.status_file.stat()
    shown.write(service)
    same = service.workspace.status_file.stat()
    service.log.append(PauseRequested())
    shown.write(service)
    changed = json.loads(service.workspace.status_file.read_text())

    assert (first.st_ino, first.st_mtime_ns) == (same.st_ino, same.st_mtime_ns)
    assert service.log.head() == changed["seq"]
    assert document(service).keys() == changed.keys()


def test_the_days_log_has_a_line_for_each_fact_and_none_for_steps(service: Service) -> None:
    journal = Journal(service)
    service.log.append(PauseRequested(), actor="cli")
    service.log.append(
        StepsCompleted(run="r", attempt=1, first_step=1, first_global_step=1, n=1, columns={"loss": [1.0]})
    )
    service.log.append(AlertRaised(severity="warning", type="port", detail="taken"))
    journal.write(service)
    journal.write(service)
    (path,) = list(service.workspace.logs.glob("daemon_*.log"))
    lines = path.read_text().splitlines()

    assert 2 == len(lines)
    assert lines[0].endswith("cli PauseRequested")
    assert lines[1].endswith("daemon AlertRaised severity=warning type=port detail=taken")


# -- failing -------------------------------------------------------------------------------------------


def test_a_job_that_raises_is_a_fact_and_an_alert_until_it_works_again(service: Service) -> None:
    target = service.workspace.logs / "target"

    def work(service: Service) -> None:
        target.read_text()

    job = Job("reader", 1.0, work)
    run(service, job)
    run(service, job)
    failed = facts(service, JobFailed)
    alerts = dict(service.state().health.alerts)
    target.write_text("there")
    run(service, job)
    run(service, job)

    (fact,) = failed

    assert isinstance(fact, JobFailed)
    assert ("reader", "FileNotFoundError") == (fact.job, fact.error.split(":")[0])
    assert ["job:reader"] == list(alerts)
    assert [AlertCleared(type="job:reader")] == facts(service, AlertCleared)
    assert {} == dict(service.state().health.alerts)


def test_a_real_job_that_cannot_work_is_told_and_the_others_go_on(service: Service) -> None:
    folder = service.workspace.status_file.parent
    shutil.rmtree(folder)
    folder.write_text("a file where a folder should be")
    drop(service, "a.jsonl")
    table = {job.name: job for job in jobs(service, Inbox())}
    run(service, table["status file"])
    run(service, table["poll"])

    (fact,) = facts(service, JobFailed)

    assert isinstance(fact, JobFailed)
    assert "status file" == fact.job
    assert Path(fact.where.rpartition(":")[0]).name.endswith(".py")
    assert 1 == len(service.state().queue.entries)


def test_a_job_does_nothing_once_the_service_stops(service: Service) -> None:
    service.stop.set()
    done = []
    run(service, Job("any", 1.0, done.append))

    assert [] == done


def test_every_job_runs_on_an_idle_workspace_without_a_failure(service: Service) -> None:
    table = jobs(service, Inbox())
    for job in (*table, *table):
        run(service, job)

    assert [] == facts(service, JobFailed)
    assert len(table) == len({job.name for job in table})


def test_a_penalty_on_a_text_that_begins_like_others_is_told_once_and_taken_back(service: Service) -> None:
    edit(service, logit_penalties=[{"text": "<think>", "weight": 5}])
    quiet = facts(service, AlertRaised)
    edit(service, logit_penalties=[{"text": "<think>", "weight": 5}, {"text": "Well, ", "weight": 5}])
    configuration(service)
    (raised,) = facts(service, AlertRaised)
    edit(service, logit_penalties=[])

    assert [] == quiet
    assert isinstance(raised, AlertRaised)
    assert "'Well, '" in raised.detail and "<think>" not in raised.detail
    assert "info" == raised.severity
    assert {} == dict(service.state().health.alerts)


def test_another_poll_interval_acts_without_a_restart(service: Service) -> None:
    edit(service, poll_interval=3600)
    inbox, drops = Inbox(), [drop(service, name) for name in ("a.jsonl", "b.jsonl")]
    drops[1].unlink()
    table = {job.name: job for job in jobs(service, inbox)}
    run(service, table["poll"])
    taken = not drops[0].exists()
    drop(service, "b.jsonl")
    run(service, table["poll"])
    left = drops[1].exists()
    edit(service, poll_interval=0.2)
    time.sleep(0.2)
    run(service, table["poll"])

    assert taken and left
    assert not drops[1].exists()
