"""The commands as a script meets them: exit codes, one JSON document, keys as promised."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.logbook import open_log
from db.workspace import Workspace
from events.types import ServicePaused, ServiceResumed
from projections import queue
from projections.fold import PROJECTIONS
from tests.core.cli.conftest import command
from tests.core.jobs.work import rows

Run = Callable[..., Any]

COMMANDS = [
    "init", "demo", "serve", "check", "add", "queue", "queue list", "queue move", "queue remove",
    "queue retry", "status", "pause", "resume", "skip", "stop", "versions", "versions list",
    "versions show", "versions verify", "crashes", "crashes list",
    "crashes show", "events", "events show", "replay", "rebuild", "verify",
]  # fmt: skip


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    from typer.main import get_command

    from core.cli import control, crashes, events, files, history, start, versions
    from core.cli.app import app

    for module in (start, files, control, versions, crashes, events, history):
        module.register(app)
    whole = get_command(app)
    for name in COMMANDS:
        with pytest.raises(SystemExit) as end:
            whole(args=[*name.split(), "--help"], prog_name="evertrain")
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
        "size_bytes", "current", "pinned", "log_seq", "log_hash", "fixed_validation_loss",
    } <= row.keys()  # fmt: skip
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
    shown = ask("events", "show", "1")
    assert first == {key: shown[key] for key in first} and [] == shown["causes"]
    run("events", "show", str(len(lines) + 1), check=2)


def test_an_event_names_what_led_to_it_and_what_it_led_to(place: Workspace, run: Run, ask: Run) -> None:
    run("pause")
    log = open_log(place, "cli")
    asked = log.head()
    (first,) = log.append(ServicePaused(request=asked), causation=asked)
    (second,) = log.append(ServiceResumed(request=asked), causation=first)
    log.close()
    shown = {seq: ask("events", "show", str(seq)) for seq in (asked, first, second)}

    assert [[], [asked], [first, asked]] == [fact["causes"] for fact in shown.values()]
    assert [[first], [second], []] == [fact["effects"] for fact in shown.values()]
    assert [first, second, None] == [fact["next"] for fact in shown.values()]
    assert (asked, first) == (shown[first]["previous"], shown[second]["previous"])


def of_done(event: dict[str, Any]) -> bool:
    digest = hashlib.sha256(rows("done").encode()).hexdigest()
    return bool(event["stream"] == f"file/{digest}")


@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [
        (["--type", "FileQueued"], lambda e: e["type"] == "FileQueued"),
        (["--actor", "cli"], lambda e: e["actor"] == "cli"),
        (["--stream", "workspace"], lambda e: e["stream"] == "workspace"),
        (["--after", "5", "--limit", "3"], lambda e: 5 < e["seq"] <= 8),
        (["--since", "9", "--until", "12"], lambda e: 9 <= e["seq"] <= 12),
        (["--correlation", "2"], lambda e: 2 in (e["seq"], e["correlation"])),
        (["--text", "DONE.jsonl"], lambda e: "done.jsonl" in json.dumps(e["data"])),
        (["--file", "done.jsonl"], lambda e: e["stream"].startswith(("run/", "version/")) or of_done(e)),
        (["--file", "done.jsonl", "--stream", "control"], None),
    ],
)
def test_events_are_chosen(
    run: Run, arguments: list[str], chosen: Callable[[Any], bool] | None
) -> None:
    """`chosen` None: nothing fits."""
    every = [json.loads(line) for line in run("events", "--json").stdout.splitlines()]
    expected = [event for event in every if chosen is not None and chosen(event)]

    assert (chosen is not None) == bool(expected)
    assert expected == [json.loads(line) for line in run("events", "--json", *arguments).stdout.splitlines()]


def test_a_run_is_a_choice_of_events_and_its_steps_are_told_one_by_one(run: Run, ask: Run) -> None:
    (version,) = ask("versions")
    told = [json.loads(line) for line in run("events", "--json", "--run", version["run"]).stdout.splitlines()]
    counted = [event for event in told if event["type"] == "StepsCompleted"]
    steps = [
        json.loads(line)
        for event in counted
        for line in run("events", "show", str(event["seq"]), "--steps").stdout.splitlines()
    ]

    losses = [loss for event in counted for loss in event["data"]["columns"]["loss"]]

    assert {f"run/{version['run']}"} == {event["stream"] for event in told}
    assert losses == [step["loss"] for step in steps]
    assert list(range(1, len(steps) + 1)) == [step["step"] for step in steps]
    assert "no file" in run("events", "--file", "nothing.jsonl", check=2).stderr


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
    value = ask("replay", "--to", str(head()), "--value", "control.mode")
    assert (head(), "running", True) == (value["seq"], value["value"], value["there"])
    assert "control.mode" in run("replay", "--to", "5", "--value", "control.mode").stdout
    run("replay", "--to", "5", "--value", "nothing", check=2)
    run("replay", "--to", "5", "--value", "control.mode", "--diff", "2", check=2)
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
            noted = ("INSERT INTO snapshot SELECT 'queue', ?, 5, x'00', '{}'", (queue.VERSION,))
            connection.execute(*noted)
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
    assert all(problem["remedy"] for problem in found["problems"])
    assert not found["ok"]
    assert kind in {problem["kind"] for problem in found["problems"]}
    assert {"kind", "seq", "path", "detail", "remedy"} == found["problems"][0].keys()


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
