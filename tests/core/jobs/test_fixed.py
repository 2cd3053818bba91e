"""The fixed validation set in the daemon's hands: checked, noticed, never trained, never silently missing."""

import json
import shutil
from pathlib import Path

import pytest

from core.files import Look, sha256_of
from core.intake.tokens import TokenStore
from core.jobs.arrange import arrange
from core.jobs.configuration import configuration
from core.jobs.dispatch import start_next
from core.jobs.fixed import fixed_set
from core.jobs.service import Service
from events.types import AlertCleared, AlertRaised, FileRejected, FixedSetChecked, TrainingStarted
from tests.core.jobs.work import drop, entry, facts, rows, take_in


def configure(service: Service, **changes: object) -> None:
    config = json.loads(service.workspace.config.read_text())
    service.workspace.config.write_text(json.dumps(config | changes))
    configuration(service)
    assert () == service.state().workspace.refused


def name(service: Service, text: str, named: str = "fixed.jsonl") -> Path:
    """A fixed set with these rows, named in config.json and looked at."""
    path = service.workspace.root / named
    path.write_text(text, encoding="utf-8")
    configure(service, fixed_validation=named)
    fixed_set(service)
    return path


def checked(service: Service) -> list[FixedSetChecked]:
    return [fact for fact in facts(service, FixedSetChecked) if isinstance(fact, FixedSetChecked)]


def start(service: Service) -> TrainingStarted:
    start_next(service)
    arrange(service)
    (fact,) = facts(service, TrainingStarted)
    assert isinstance(fact, TrainingStarted)
    return fact


def alert(service: Service) -> str | None:
    found = service.state().health.alerts.get("fixed_validation")
    return found.detail if found is not None else None


def test_its_bytes_are_recorded_once_and_stay_where_they_are(service: Service, tmp_path: Path) -> None:
    path = tmp_path / "elsewhere.jsonl"
    path.write_text(rows("fixed", 30) + "no row\n")
    before = path.stat()
    configure(service, fixed_validation=str(path))
    for _ in range(3):
        fixed_set(service)
    fixed_set(Service(service.workspace, service.log))  # a new daemon looks anew

    (fact,) = checked(service)
    store = TokenStore.open(service.workspace.tokens / fact.store)

    assert (str(path), sha256_of(path)) == (fact.path, fact.sha256)
    assert (31, 30) == (fact.rows, fact.usable_rows)
    assert (30, fact.trainable_tokens) == (store.rows, int(store.trained.sum()))
    assert ["bad_json"] == [problem.partition(":")[0] for problem in fact.problems]
    assert Look.of(before) == Look.of(path.stat())
    assert None is alert(service)


def test_a_run_says_what_is_measured_and_how_many_rows_were_left_out(service: Service) -> None:
    drop(service, "a.jsonl", rows("a", 40) + rows("shared", 5))
    take_in(service)
    name(service, rows("shared", 12))
    run = start(service)

    (fact,) = checked(service)

    assert (fact.sha256, fact.store) == (run.fixed_set, run.fixed_store)
    assert (5, 40) == (run.excluded_rows, run.rows + run.holdout_rows)


def test_without_a_fixed_set_nothing_is_left_out(service: Service) -> None:
    drop(service, "a.jsonl")
    take_in(service)
    run = start(service)

    assert (None, None, 0) == (run.fixed_set, run.fixed_store, run.excluded_rows)
    assert [] == checked(service)


def test_a_run_that_is_decided_before_the_next_look_looks_first(service: Service) -> None:
    drop(service, "a.jsonl")
    take_in(service)
    path = name(service, rows("one"))
    path.write_text(rows("two"))
    run = start(service)

    assert [sha256_of(path)] == [fact.sha256 for fact in checked(service)][1:]
    assert sha256_of(path) == run.fixed_set


def test_changed_bytes_are_another_fact_and_the_open_run_keeps_its_own(service: Service) -> None:
    drop(service, "a.jsonl")
    take_in(service)
    path = name(service, rows("one"))
    run = start(service)
    path.write_text(rows("two"))
    fixed_set(service)

    first, second = checked(service)
    current = service.state().run.current

    assert current is not None
    assert first.sha256 == run.fixed_set == current.fixed_set != second.sha256
    assert TokenStore.open(service.workspace.tokens / str(run.fixed_store)).rows == first.usable_rows


def test_other_settings_of_tokens_make_other_tokens_of_the_same_bytes(service: Service) -> None:
    name(service, rows("one"))
    configure(service, system_prompt="Be brief.")
    fixed_set(service)
    configure(service, learning_rate=1e-4)
    fixed_set(service)

    first, second = checked(service)

    assert first.sha256 == second.sha256
    assert first.store != second.store


@pytest.mark.parametrize(
    ("text", "named", "why"),
    [(None, "gone.jsonl", "No such file"), ("no rows\n", "bad.jsonl", "bad_json: none of 1 rows is usable"),
     ("", "empty.jsonl", "no_rows"), (rows("x"), "inbox/x.jsonl", "where files are trained"),
     (rows("x"), "queue/low/x.jsonl", "where files are trained")],
)  # fmt: skip
def test_what_cannot_be_used_is_told_aloud_and_training_goes_on_without(
    service: Service, text: str | None, named: str, why: str
) -> None:
    drop(service, "a.jsonl")
    take_in(service)
    if text is not None:
        (service.workspace.root / named).write_text(text)
    configure(service, fixed_validation=named)
    for _ in range(2):
        fixed_set(service)
    run = start(service)

    (fact,), said = checked(service), alert(service)

    assert "" == fact.store
    assert said is not None
    assert named in said and why in said and "without it" in said
    assert 1 == len(facts(service, AlertRaised))
    assert (None, 0) == (run.fixed_set, run.excluded_rows)


def test_the_alert_goes_when_the_file_is_there_or_the_key_is_gone(service: Service) -> None:
    path = name(service, rows("one"))
    text = path.read_text()
    for repair in (lambda: path.write_text(text), lambda: configure(service, fixed_validation=None)):
        path.unlink()
        fixed_set(service)
        missing = alert(service)
        repair()
        fixed_set(service)

        assert missing is not None
        assert None is alert(service)
    assert 2 == len(facts(service, AlertCleared))


def test_a_folder_or_an_unreadable_place_is_no_fixed_set(service: Service) -> None:
    (service.workspace.root / "folder.jsonl").mkdir()
    configure(service, fixed_validation="folder.jsonl")
    fixed_set(service)

    assert "not a regular file" in str(alert(service))


def test_lost_tokens_of_the_set_are_made_again(service: Service) -> None:
    name(service, rows("one"))
    shutil.rmtree(service.workspace.tokens)
    service.workspace.tokens.mkdir()
    store = fixed_set(service)

    assert store is not None
    assert 40 == store.rows
    assert 1 == len(checked(service))


def test_a_file_that_is_all_in_the_fixed_set_is_rejected_once_and_the_next_one_trains(
    service: Service,
) -> None:
    drop(service, "a.jsonl", rows("shared", 10))
    drop(service, "b.jsonl")
    take_in(service)
    name(service, rows("shared", 30))
    for _ in range(3):
        start_next(service)
        arrange(service)

    (rejected,) = facts(service, FileRejected)
    (run,) = facts(service, TrainingStarted)

    assert isinstance(rejected, FileRejected) and isinstance(run, TrainingStarted)
    assert "in_fixed_set" in rejected.reason
    assert 10 == rejected.counts["in_fixed_set"]
    assert ("rejected", "queue/failed/a.jsonl") == (
        entry(service, "a.jsonl").state,
        entry(service, "a.jsonl").placed,
    )
    assert "b.jsonl" == run.file
