"""The commands as a script meets them: exit codes, one JSON document, keys as promised."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.files import sha256_of
from core.logbook import open_log, state_at
from db.processes import RoleLock
from db.workspace import Workspace
from projections.fold import PROJECTIONS
from tests.core.cli.conftest import command
from tests.core.jobs.work import rows

Run = Callable[..., Any]

COMMANDS = [
    "init", "demo", "serve", "check", "add", "queue", "queue list", "queue move", "queue remove",
    "queue retry", "status", "pause", "resume", "skip", "stop", "versions", "versions list",
    "versions show", "versions verify", "events", "events show", "replay", "rebuild", "verify",
]  # fmt: skip


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    from typer.main import get_command

    from core.cli import control, files, history, start, versions
    from core.cli.app import app

    for module in (start, files, control, versions, history):
        module.register(app)
    whole = get_command(app)
    for command in COMMANDS:
        with pytest.raises(SystemExit) as end:
            whole(args=[*command.split(), "--help"], prog_name="evertrain")
        out = capsys.readouterr().out
        assert 0 == end.value.code
        assert "Usage: evertrain" in out
        assert "help" in out


def test_help_and_a_wrong_command_through_the_real_process(evertrain: Run) -> None:
    shown = evertrain("--help").stdout

    for top in {name.split()[0] for name in COMMANDS}:
        assert f" {top} " in shown
    evertrain("fly", check=2)
    evertrain("replay", check=2)


def test_without_a_workspace_every_command_says_how_to_make_one(tmp_path: Path) -> None:
    for name in ("status", "pause", "queue", "verify", "serve", "replay --to 1"):
        done = command(*name.split(), "--workspace", tmp_path / "none")
        assert 2 == done.returncode
        assert "evertrain init --base" in done.stderr
    assert not (tmp_path / "none").exists()


def test_status(ask: Run, run: Run) -> None:
    found = ask("status")

    assert {
        "status", "seq", "timestamp", "model_name", "current_version", "current_step", "total_steps", "run",
        "current_file", "loss", "validation_loss", "val_train_gap", "fixed_validation_loss", "learning_rate",
        "grad_norm", "tokens_per_sec", "eta_seconds", "queue", "completed", "failed", "gpu", "ram", "disk",
        "alerts", "processes", "waiting_for",
    } == found.keys()  # fmt: skip
    assert ("waiting", "v0001", 1, 1) == tuple(
        found[k] for k in ("status", "current_version", "completed", "failed")
    )
    assert {"high": 0, "normal": 3, "low": 1} == found["queue"]
    assert {"watchdog", "daemon", "trainer", "monitor"} == found["processes"].keys()
    assert "no service is running" in found["waiting_for"]
    assert "version v0001" in run("status").stdout


def test_queue(ask: Run, run: Run) -> None:
    found = ask("queue")
    waiting = [row for row in found if row["state"] == "waiting"]

    assert found == ask("queue", "list")
    for row in found:
        assert {
            "file", "sha256", "priority", "state", "rows", "trainable_tokens", "attempts", "position",
            "reason",
        } == row.keys()  # fmt: skip
    assert [1, 2, 3, 4] == [row["position"] for row in waiting]
    assert "c.jsonl" == waiting[-1]["file"]
    assert {"completed", "duplicate", "rejected", "waiting"} == {row["state"] for row in found}
    assert "c.jsonl" in run("queue").stdout


def test_versions(ask: Run, run: Run, place: Workspace) -> None:
    (row,) = ask("versions")

    assert [row] == ask("versions", "list")
    assert {
        "id", "created_at", "parent", "run", "file", "file_sha256", "global_step", "loss", "validation_loss",
        "size_bytes", "current", "pinned", "log_seq", "log_hash",
    } == row.keys()  # fmt: skip
    assert row.items() <= ask("versions", "show", "v0001").items()
    assert {"id": "v0001", "ok": True, "problems": []} == ask("versions", "verify", "current")
    run("versions", "show", "v0099", check=2)
    weights = place.versions / "v0001" / "model.safetensors"
    raw = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    damaged = ask("versions", "verify", "v0001", check=4)
    assert (False, 1) == (damaged["ok"], len(damaged["problems"]))


def test_events(ask: Run, run: Run) -> None:
    lines = [json.loads(line) for line in run("events", "--json").stdout.splitlines()]
    first = lines[0]

    assert list(range(1, len(lines) + 1)) == [line["seq"] for line in lines]
    assert {"seq", "at", "actor", "stream", "type", "causation", "correlation", "data"} == first.keys()
    assert first == ask("events", "show", "1")
    run("events", "show", str(len(lines) + 1), check=2)


@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [
        (["--type", "FileQueued"], lambda e: e["type"] == "FileQueued"),
        (["--actor", "cli"], lambda e: e["actor"] == "cli"),
        (["--stream", "workspace"], lambda e: e["stream"] == "workspace"),
        (["--after", "5", "--limit", "3"], lambda e: 5 < e["seq"] <= 8),
        (["--since", "9", "--until", "12"], lambda e: 9 <= e["seq"] <= 12),
    ],
)
def test_events_are_chosen(run: Run, arguments: list[str], chosen: Callable[[Any], bool]) -> None:
    every = [json.loads(line) for line in run("events", "--json").stdout.splitlines()]
    expected = [event for event in every if chosen(event)]

    assert expected
    assert expected == [json.loads(line) for line in run("events", "--json", *arguments).stdout.splitlines()]


def test_the_newest_events_are_shown_and_an_unknown_type_is_named(run: Run, head: Callable[[], int]) -> None:
    newest = [json.loads(line)["seq"] for line in run("events", "--json", "--limit", "2").stdout.splitlines()]

    assert [head() - 1, head()] == newest
    assert "no such fact" in run("events", "--type", "MoonLanded", check=2).stderr


def test_replay(ask: Run, run: Run, head: Callable[[], int]) -> None:
    found = ask("replay", "--to", "5")
    changed = ask("replay", "--to", "2", "--diff", str(head()))

    assert {"seq", "at", "projections"} == found.keys()
    assert {"inbox", "queue", "run", "versions", "storage", "control", "health", "status"} <= found[
        "projections"
    ].keys()
    assert ["queue"] == list(ask("replay", "--to", "5", "--projection", "queue")["projections"])
    assert {"from", "to", "changes"} == changed.keys()
    assert {"path", "before", "after", "set_by"} == changed["changes"][0].keys()
    run("replay", "--to", str(head() + 1), check=2)
    run("replay", "--to", "5", "--projection", "nothing", check=2)


def test_rebuild_and_verify_find_nothing_on_a_healthy_workspace(ask: Run, head: Callable[[], int]) -> None:
    verified = ask("verify", "--deep")

    assert {"ok", "events", "head_hash", "problems"} == verified.keys()
    assert (True, head(), []) == (verified["ok"], verified["events"], verified["problems"])
    assert ask("rebuild")["ok"]
    assert set(PROJECTIONS) == set(ask("replay", "--to", "3")["projections"]) - {"status"}


@pytest.mark.parametrize("where", ["log", "queue", "version", "checkpoint", "projection", "header"])
def test_verify_finds_one_changed_byte_anywhere(ask: Run, really: Run, place: Workspace, where: str) -> None:
    from db.engine import driver

    if where in ("log", "projection"):
        connection = driver().connect(str(place.log), isolation_level=None)
        connection.execute("DROP TRIGGER event_is_never_changed")
        if where == "log":
            connection.execute("UPDATE event SET actor = 'daemom' WHERE seq = 7")
        else:
            connection.execute("INSERT INTO snapshot SELECT 'queue', 1, 5, x'00', '{}'")
        connection.close()
    elif where == "header":
        raw = bytearray(place.log.read_bytes())
        raw[3] ^= 1
        place.log.write_bytes(raw)
        really("verify", check=4)
        return
    else:
        path = {
            "queue": place.queue / "low" / "c.jsonl",
            "version": place.versions / "v0001" / "config.json",
            "checkpoint": place.current_model / "checkpoint-7" / "config.json",
        }[where]
        raw = bytearray(path.read_bytes())
        raw[10] ^= 1
        path.unlink()
        path.write_bytes(raw)

    found = ask("verify", "--deep", check=4)

    kind = {"log": "changed", "queue": "file_changed"}.get(where, where)
    assert not found["ok"]
    assert kind in {problem["kind"] for problem in found["problems"]}
    assert {"kind", "seq", "path", "detail"} == found["problems"][0].keys()


def test_rebuild_names_a_planted_difference_and_mends_it(ask: Run, place: Workspace) -> None:
    log = open_log(place, "test")
    with log.transaction() as db:
        db.execute("INSERT INTO rollup VALUES ('loss', 0, 9, 'r9', 1, 1, 0, 1.0, 1.0, 1.0, 1.0, 600)")
    log.close()
    found = ask("rebuild", check=4)

    assert "curves" == found["differences"][0]["projection"]
    assert ask("rebuild")["ok"]


def test_a_log_cut_off_behind_a_version_is_found(ask: Run, place: Workspace) -> None:
    from db.engine import driver

    connection = driver().connect(str(place.log), isolation_level=None)
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    anchor = json.loads((place.versions / "v0001" / "manifest.json").read_text())["log"]["seq"]
    connection.execute("DELETE FROM event WHERE seq >= ?", (anchor,))
    connection.execute("DELETE FROM commit_log WHERE last_seq >= ?", (anchor,))
    connection.close()

    assert "anchor" in {problem["kind"] for problem in ask("verify", check=4)["problems"]}


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
