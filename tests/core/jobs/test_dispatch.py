"""Starting runs and answering requests on a real workspace."""

import json
import os
import shutil

from core.jobs.arrange import arrange
from core.jobs.configuration import configuration
from core.jobs.dispatch import answer, give_up, start_next
from core.jobs.service import Service
from db.processes import RoleLock
from events.types import (
    FileRejected,
    FileValidated,
    MoveRequested,
    PauseRequested,
    ProcessCrashed,
    RemoveRequested,
    RequestRefused,
    ResumeRequested,
    RetryRequested,
    ServicePaused,
    SkipRequested,
    StopRequested,
    TrainingFailed,
    TrainingPaused,
    TrainingSkipped,
    TrainingStarted,
    TrainingStopped,
)
from tests.core.jobs.work import drop, entry, facts, places, recorded, resume_point, take_in, train_one


def waiting(service: Service, *names: str) -> Service:
    for name in names:
        drop(service, name)
    take_in(service)
    return service


def started(service: Service) -> list[TrainingStarted]:
    return [fact for fact in facts(service, TrainingStarted) if isinstance(fact, TrainingStarted)]


def test_the_first_of_the_queue_starts_and_its_file_goes_to_processing(service: Service) -> None:
    waiting(service, "low/b.jsonl", "high/a.jsonl")
    start_next(service)
    start_next(service)
    arrange(service)

    (run,) = started(service)

    assert "a.jsonl" == run.file
    assert {"queue/processing/a.jsonl", "queue/low/b.jsonl"} == places(service).keys()
    assert (0, 0, None, None) == (run.step, run.global_step, run.checkpoint, run.parent)
    assert 40 == run.rows + run.holdout_rows
    assert run.steps_planned > 0
    assert 0 < run.trained_tokens < run.tokens


def test_lost_tokens_are_made_again_to_the_same_plan(service: Service) -> None:
    waiting(service, "a.jsonl", "b.jsonl")
    shutil.rmtree(service.workspace.tokens)
    service.workspace.tokens.mkdir()
    train_one(service)
    start_next(service)

    first, second = started(service)

    assert first.plan_sha256 != second.plan_sha256
    assert {first.store, second.store} == {path.name for path in service.workspace.tokens.iterdir()}
    assert 2 == len(facts(service, FileValidated))


def test_under_other_settings_a_waiting_file_is_checked_again_and_keeps_its_turn(service: Service) -> None:
    waiting(service, "a.jsonl", "b.jsonl")
    turn = service.state().queue.waiting
    config = json.loads(service.workspace.config.read_text())
    service.workspace.config.write_text(json.dumps(config | {"system_prompt": "Be brief."}))
    configuration(service)
    start_next(service)

    (run,) = started(service)
    checked = [fact for fact in facts(service, FileValidated) if isinstance(fact, FileValidated)]

    assert turn[0] == run.sha256
    assert turn[1:] == service.state().queue.waiting
    assert 3 == len(checked)
    assert checked[-1].store == run.store != checked[0].store
    assert "Be brief." == run.config["system_prompt"]


def test_a_file_that_no_longer_passes_under_other_settings_is_rejected(service: Service) -> None:
    drop(service, "a.jsonl", json.dumps({"text": "word " * 2000}) + "\n")
    drop(service, "b.jsonl")
    config = json.loads(service.workspace.config.read_text())
    service.workspace.config.write_text(json.dumps(config | {"max_length": 8192, "batch_size": 1}))
    configuration(service)
    take_in(service)
    service.workspace.config.write_text(json.dumps(config))
    configuration(service)
    before = service.state().queue.waiting
    for _ in before:
        start_next(service)

    assert 2 == len(before)
    assert 1 == len(facts(service, FileRejected))
    assert ["b.jsonl"] == [run.file for run in started(service)]


def test_a_waiting_file_whose_bytes_and_tokens_are_gone_starts_nothing_and_fails_nothing(
    service: Service,
) -> None:
    waiting(service, "a.jsonl")
    shutil.rmtree(service.workspace.tokens)
    service.workspace.tokens.mkdir()
    (service.workspace.queue / "normal" / "a.jsonl").unlink()
    start_next(service)
    take_in(service)

    assert [] == started(service)
    assert "removed" == entry(service, "a.jsonl").state


def test_requests_are_answered_once_each_with_their_cause(service: Service) -> None:
    waiting(service, "a.jsonl")
    asked = [
        service.log.append(fact)[0] for fact in (PauseRequested(), PauseRequested(), SkipRequested(run=None))
    ]
    answer(service)
    answer(service)

    answers = recorded(service, ServicePaused, RequestRefused)

    assert asked == [service.log.get(each.seq).causation for each in answers]
    assert ["ServicePaused", "RequestRefused", "RequestRefused"] == [type(a.event).__name__ for a in answers]
    assert () == service.state().control.pending


def test_while_a_trainer_lives_its_requests_are_its_own(service: Service) -> None:
    waiting(service, "a.jsonl")
    start_next(service)
    run = started(service)[0].run
    with RoleLock(service.workspace.locks, "trainer"):
        service.log.append(PauseRequested())
        service.log.append(SkipRequested(run=run))
        answer(service)
        during = facts(service, TrainingPaused, TrainingSkipped, RequestRefused)
    answer(service)

    assert [] == during
    assert 1 == len(facts(service, TrainingPaused))
    assert 1 == len(facts(service, TrainingSkipped))


def test_stop_puts_the_file_back_and_resume_goes_on_where_it_was(service: Service) -> None:
    waiting(service, "a.jsonl", "b.jsonl")
    start_next(service)
    arrange(service)
    path = resume_point(service, started(service)[0].run, 3)
    service.log.append(StopRequested())
    answer(service)
    arrange(service)
    start_next(service)
    while_stopped = places(service)
    service.log.append(ResumeRequested())
    answer(service)
    start_next(service)

    first, second = started(service)

    assert 1 == len(facts(service, TrainingStopped))
    assert {"queue/normal/a.jsonl", "queue/normal/b.jsonl"} == while_stopped.keys()
    assert (first.run, first.plan_sha256, 3, 3, path) == (
        second.run, second.plan_sha256, second.step, second.global_step, second.checkpoint,
    )  # fmt: skip


def test_move_remove_and_retry_end_in_the_right_folders(service: Service) -> None:
    waiting(service, "a.jsonl", "b.jsonl")
    a, b = entry(service, "a.jsonl").sha256, entry(service, "b.jsonl").sha256
    seen = []
    for request in (
        MoveRequested(sha256=a, priority="high"),
        RemoveRequested(sha256=b),
        RetryRequested(sha256=b),
    ):
        service.log.append(request)
        answer(service)
        arrange(service)
        seen.append(sorted(places(service)))
    take_in(service)

    assert ["queue/high/a.jsonl", "queue/normal/b.jsonl"] == seen[0]
    assert ["queue/failed/b.jsonl", "queue/high/a.jsonl"] == seen[1]
    assert ["queue/high/a.jsonl", "queue/normal/b.jsonl"] == seen[2]
    assert (a, b) == service.state().queue.waiting


def test_a_hopeless_run_is_given_up_only_while_no_trainer_lives(service: Service) -> None:
    waiting(service, "a.jsonl")
    start_next(service)
    arrange(service)
    run = started(service)[0].run
    for _ in range(int(service.settings().max_attempts)):
        service.log.append(
            ProcessCrashed(role="trainer", pid=os.getpid(), exit_code=1, signal=None, error="ValueError at x",
                           run=run, step=0)
        )  # fmt: skip
    with RoleLock(service.workspace.locks, "trainer"):
        give_up(service)
        during = facts(service, TrainingFailed)
    give_up(service)
    give_up(service)
    arrange(service)

    assert [] == during
    assert 1 == len(facts(service, TrainingFailed))
    assert ["queue/failed/a.jsonl"] == list(places(service))
    report = json.loads((service.workspace.queue / "failed" / "a.jsonl.report.json").read_text())
    assert "ValueError at x" in report["reason"]
