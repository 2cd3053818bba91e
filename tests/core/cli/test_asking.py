"""Asking and bringing: which file is meant, who acts when nobody is there, and how a workspace begins."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.files import sha256_of
from core.logbook import open_log, state_at
from db.processes import RoleLock
from db.workspace import Workspace
from tests.core.jobs.work import rows

Run = Callable[..., Any]

# -- which file is meant -----------------------------------------------------------------------------


def test_a_file_is_meant_by_name_original_or_hash(ask: Run, place: Workspace) -> None:
    log = open_log(place, "test")
    files = {file.original: file for file in state_at(log).inbox.files.values()}
    log.close()
    for given in (
        "c.jsonl",
        "low/c.jsonl",
        files["low/c.jsonl"].sha256[:6],
        files["low/c.jsonl"].sha256.upper(),
    ):
        ask("queue", "move", given, "high")
        ask("queue", "move", given, "low")

    assert files["deep/a.jsonl"].name != files["other/a.jsonl"].name


def test_an_unknown_or_ambiguous_file_is_wrong_usage_with_the_candidates(run: Run, place: Workspace) -> None:
    log = open_log(place, "test")
    from events.types import FileReceived
    from tests.facts import specimen

    for n in (1, 2):
        log.append(
            specimen(FileReceived, sha256="abcdef" + str(n) * 58, name=f"twin{n}.jsonl", original=f"t{n}")
        )
    log.close()

    assert "queue list" in run("queue", "remove", "nothing.jsonl", check=2).stderr
    assert "no file is called" in run("queue", "remove", "abcde", check=2).stderr
    told = run("queue", "remove", "abcdef", check=2).stderr
    assert "twin1.jsonl" in told
    assert "twin2.jsonl" in told


# -- asking, with nobody there -------------------------------------------------------------------------


def test_pause_and_resume_only_append_when_no_service_runs(
    ask: Run, run: Run, head: Callable[[], int]
) -> None:
    before = head()
    for asked, kind in (("pause", "PauseRequested"), ("resume", "ResumeRequested")):
        found = ask(asked)
        assert (kind, None) == (found["type"], found["answer"])

    assert before + 2 == head()
    assert "no service runs" in run("pause", "--wait", check=3).stderr
    assert before + 3 == head()


def test_stop_and_skip_act_alone(ask: Run, run: Run, head: Callable[[], int]) -> None:
    stopped = ask("stop")

    assert "ServiceStopped" == stopped["answer"]["type"]
    assert head() == stopped["answer"]["seq"]
    assert "stopped" == ask("status")["status"]
    assert "already stopped" in run("stop", check=3).stderr
    assert "nothing is training" in run("skip", check=3).stderr


def test_a_decay_is_refused_under_any_schedule_that_knows_none(run: Run, head: Callable[[], int]) -> None:
    before = head()

    assert "lr_schedule is constant: only wsd decays on request" in run("decay", check=3).stderr
    assert before + 2 == head()


def test_move_remove_and_retry_act_alone_and_the_files_lie_where_they_should(
    ask: Run, run: Run, place: Workspace
) -> None:
    moved = ask("queue", "move", "c.jsonl", "high")
    high = (place.queue / "high" / "c.jsonl").exists()
    removed = ask("queue", "remove", "c.jsonl")
    failed = (place.queue / "failed" / "c.jsonl").exists()
    retried = ask("queue", "retry", "c.jsonl")

    assert ["FileReprioritized", "FileRemoved", "FileReopened"] == [
        each["answer"]["type"] for each in (moved, removed, retried)
    ]
    assert high
    assert failed
    assert (place.queue / "high" / "c.jsonl").exists()
    assert "there are high" in run("queue", "move", "c.jsonl", "urgent", check=3).stderr
    assert "only waiting files" in run("queue", "remove", "done.jsonl", check=3).stderr


def test_while_a_daemon_has_the_lock_the_command_leaves_the_work_to_it(run: Run, place: Workspace) -> None:
    with RoleLock(place.locks, "daemon"):
        done = run("stop", "--wait", "--timeout", "0.3", check=3)

    assert "was not acted on within 0.3 s" in done.stderr


# -- files on their way in -----------------------------------------------------------------------------


def test_check_is_the_very_check_and_changes_nothing(
    ask: Run, tmp_path: Path, head: Callable[[], int]
) -> None:
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text(rows("good"))
    bad.write_text("no json\n")
    before = head()
    (accepted,) = ask("check", good)
    both = ask("check", good, bad, check=1)

    assert {
        "file", "format", "verdict", "rows", "accepted_rows", "dropped_rows", "trainable_tokens", "problems",
        "counts", "warnings",
    } <= accepted.keys()  # fmt: skip
    assert ["accepted", "rejected"] == [report["verdict"] for report in both]
    assert {"line", "code", "message"} == both[1]["problems"][0].keys()
    assert before == head()


def test_check_tells_where_it_is_what_it_found_and_shows_an_example(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "told.jsonl"
    path.write_text(rows("told", 20) + '{"prompt": "\\u001b[2J", "completion": "x"}\n{\n' + rows("done"))
    done = run("check", path, "--example")

    assert "told.jsonl: 62 rows checked in" in done.stderr
    for said in (
        "told.jsonl: accepted_with_warnings", "61 of 62 rows are trained, 1 are left out",
        "tokens a row: p50", "max_length", "steps", "40 trained before in other files", "line 22: bad_json",
        "⟦It is told number 0.<|im_end|>⟧",
    ):  # fmt: skip
        assert said in done.stdout
    assert "\x1b" not in done.stdout


def test_add_copies_leaves_the_source_and_prints_one_document(
    ask: Run, tmp_path: Path, place: Workspace
) -> None:
    source = tmp_path / "new.jsonl"
    source.write_text(rows("new"))
    known = place.queue / "recently_completed" / "done.jsonl"
    (added,) = ask("add", source, "--priority", "high")
    (doubled,) = ask("add", known)
    (again,) = ask("add", known, "--again")

    assert sha256_of(source) == sha256_of(place.root / added["path"]) == added["sha256"]
    assert Path(added["path"]).parts[:2] == ("inbox", "high")
    assert "done.jsonl" == doubled["duplicate_of"]
    assert again["duplicate_of"] is None
    assert not (place.root / again["path"]).exists() or again["path"] == doubled["path"]
    assert {"done.jsonl": "validating"}.items() <= {r["file"]: r["state"] for r in ask("queue")}.items()


def test_add_refuses_what_it_cannot_use(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n")
    run("add", tmp_path / "none.jsonl", check=2)
    run("add", tmp_path / "a.jsonl", "--priority", "urgent", check=2)


# -- beginnings ------------------------------------------------------------------------------------------


def test_init_refuses_a_workspace_that_is_one_already(
    run: Run, demo_base: Path, head: Callable[[], int]
) -> None:
    before = head()

    assert "nothing was changed" in run("init", "--base", demo_base, check=3).stderr
    assert before == head()


def test_demo_refuses_a_folder_it_did_not_make(run: Run, evertrain: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")

    assert "not made by the demo" in run("demo", "--until-idle", check=3).stderr
    assert "not made by the demo" in evertrain("demo", "--workspace", tmp_path / "mine", check=3).stderr
    assert ["letter.txt"] == [path.name for path in (tmp_path / "mine").iterdir()]


def test_serve_refuses_a_second_watchdog_and_other_machines(
    run: Run, place: Workspace, head: Callable[[], int]
) -> None:
    before = head()
    with RoleLock(place.locks, "watchdog"):
        told = run("serve", "--port", "0", check=3).stderr

    assert "already the watchdog" in told
    assert "this machine only" in run("serve", "--host", "0.0.0.0", check=3).stderr
    assert before == head()


def test_a_damaged_log_is_one_clear_line(really: Run, place: Workspace) -> None:
    place.log.write_bytes(b"rubbish" * 1000)
    for name in ("-wal", "-shm"):
        place.log.with_name(place.log.name + name).unlink(missing_ok=True)
    done = really("status", check=1)

    assert 1 == len(done.stderr.splitlines())
    assert "restore the newest backup" in done.stderr
    shutil.rmtree(place.root)
