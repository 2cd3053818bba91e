"""Anchors: who changes the log and its chain together is found by any head that lies outside the log."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.logbook import open_log, state_at
from core.rebuilding import keep
from db.engine import driver
from db.workspace import Workspace
from events.chain import GENESIS, link
from events.reading import COLUMNS
from events.types import PauseRequested, ResumeRequested, StepsCompleted
from tests.core.cli.conftest import command

Ask = Callable[..., Any]


def head_of(place: Workspace) -> int:
    log = open_log(place, "test")
    try:
        return log.head()
    finally:
        log.close()


class Forger:
    """Changes what is between two positions, and makes a whole, gapless, well linked log of it again."""

    def __init__(self, place: Workspace) -> None:
        self.db = driver().connect(str(place.log), isolation_level=None)
        self._made = self.db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in self._made:
            self.db.execute(f"DROP TRIGGER {name}")

    def edit(self, after: int, to: int) -> None:
        self.db.execute("UPDATE event SET at = at - 1 WHERE seq = ?", (to,))

    def swap(self, after: int, to: int) -> None:
        """The payloads of two neighbours change places."""
        one, other = self.db.execute(
            "SELECT a.seq, b.seq FROM event a JOIN event b ON b.type = a.type AND b.data != a.data "
            "WHERE a.seq > ? AND a.seq < b.seq AND b.seq <= ? LIMIT 1", (after, to)
        ).fetchone()  # fmt: skip
        data = dict(self.db.execute("SELECT seq, data FROM event WHERE seq IN (?, ?)", (one, other)))
        for seq, from_ in ((one, other), (other, one)):
            self.db.execute("UPDATE event SET data = ? WHERE seq = ?", (data[from_], seq))

    def delete(self, after: int, to: int) -> None:
        """One fact goes; all behind it move up."""
        gone = after + 1
        self.db.execute("DELETE FROM event WHERE seq = ?", (gone,))
        self.db.execute("UPDATE event SET seq = -seq WHERE seq > ?", (gone,))
        self.db.execute("UPDATE event SET seq = -seq - 1 WHERE seq < 0")
        rows = self.db.execute("SELECT * FROM commit_log ORDER BY first_seq").fetchall()
        self.db.execute("DELETE FROM commit_log")
        for first, last, *rest in rows:
            first, last = first - (first > gone), last - (last >= gone)
            if first <= last:
                self.db.execute("INSERT INTO commit_log VALUES (?, ?, ?, ?, ?)", (first, last, *rest))

    def cut(self, after: int, to: int) -> None:
        """All of the log from there on goes."""
        sql = "SELECT MIN(first_seq) FROM commit_log WHERE first_seq > ?"
        (first,) = self.db.execute(sql, (after,)).fetchone()
        self.db.execute("DELETE FROM event WHERE seq >= ?", (first,))
        self.db.execute("DELETE FROM commit_log WHERE first_seq >= ?", (first,))

    def close(self) -> None:
        """Link the chain anew, and leave no trace."""
        head = GENESIS
        commits = self.db.execute("SELECT first_seq, last_seq, at FROM commit_log ORDER BY first_seq")
        for first, last, at in commits.fetchall():
            rows = self.db.execute(
                f"SELECT {COLUMNS} FROM event WHERE seq BETWEEN ? AND ? ORDER BY seq", (first, last)
            ).fetchall()
            new = link(head, first, last, at, rows)
            self.db.execute(
                "UPDATE commit_log SET prev_hash = ?, hash = ? WHERE first_seq = ?", (head, new, first)
            )
            head = new
        self.db.execute("DELETE FROM snapshot")
        for _, sql in self._made:
            self.db.execute(sql)
        self.db.close()


def anchored(place: Workspace, ask: Ask, kind: str, file: Path) -> tuple[int, int, list[str]]:
    """An anchor of this kind, the newest: (the position of the one before, its own, options of verify)."""
    manifest = json.loads((place.versions / "v0001" / "manifest.json").read_text())
    version = int(manifest["log"]["seq"])
    if kind == "version":
        return 5, version, []
    log = open_log(place, "test")
    log.append(PauseRequested(), PauseRequested(), ResumeRequested())
    if kind == "backup":
        log.close()
        ask("backup", "now")
        (listed,) = ask("backup", "list")
        return version, int(listed["log_seq"]), []
    log.append(PauseRequested())
    log.close()
    ask("verify", "--anchors", file)
    return version, head_of(place), ["--anchors", str(file)]


@pytest.mark.parametrize("how", ["edit", "swap", "delete", "cut"])
@pytest.mark.parametrize("kind", ["version", "backup", "file"])
def test_a_forged_log_is_found_by_one_head_outside(
    place: Workspace, ask: Ask, tmp_path: Path, kind: str, how: str
) -> None:
    before, anchor, options = anchored(place, ask, kind, tmp_path / "anchors.jsonl")
    where = {"version": "models/versions/v0001", "backup": "backups/backups/b0001", "file": "anchors.jsonl:1"}
    log = open_log(place, "test")
    log.append(PauseRequested())  # nothing is an anchor of this
    log.close()
    forger = Forger(place)
    getattr(forger, how)(0 if how == "swap" else before, anchor)
    forger.close()
    problems = ask("verify", *options, check=4)["problems"]
    found = [problem for problem in problems if problem["kind"] == "anchor"]

    assert not {p["kind"] for p in problems} & {"chain", "changed", "missing", "gap", "unchained", "schema"}
    assert any(where[kind] in p["path"] for p in found)
    assert all(p["remedy"] for p in found)


def test_a_log_replaced_by_an_empty_one_is_found(place: Workspace, ask: Ask) -> None:
    for path in place.log.parent.glob(f"{place.log.name}*"):
        path.unlink()
    open_log(place, "test", create=True).close()

    assert "anchor" in {problem["kind"] for problem in ask("verify", check=4)["problems"]}


def test_a_file_elsewhere_gets_a_line_each_time_the_chain_is_whole(
    place: Workspace, ask: Ask, run: Ask, tmp_path: Path
) -> None:
    file = tmp_path / "anchors.jsonl"
    first = ask("verify", "--anchors", file)
    log = open_log(place, "test")
    log.append(PauseRequested())
    log.close()
    second = ask("verify", "--anchors", file)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    said = run("verify", "--anchors", file).stdout

    assert [first["events"], second["events"]] == [line["seq"] for line in lines]
    assert [first["head_hash"], second["head_hash"]] == [line["hash"] for line in lines]
    assert "3 kept outside the log" in said  # the version's, and these two
    assert 3 == len(file.read_text().splitlines())

    forger = Forger(place)
    forger.edit(0, 3)
    forger.close()
    ask("verify", "--anchors", file, check=4)

    assert 3 == len(file.read_text().splitlines())  # a changed log is no anchor


@pytest.mark.parametrize(
    ("content", "name", "says"),
    [
        ("no anchor\n", "anchors.jsonl", "line 1 is no anchor"),
        ('{"seq": 1}\n', "anchors.jsonl", "line 1 is no anchor"),
        (None, "nowhere/anchors.jsonl", "is not there: mount it"),
        (None, "workspace/anchors.jsonl", "lies inside the workspace"),
    ],
)
def test_a_file_that_can_hold_no_anchors_is_refused(
    place: Workspace, run: Ask, tmp_path: Path, content: str | None, name: str, says: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    done = run("verify", "--anchors", tmp_path / name, check=2)

    assert says in done.stderr
    assert content == ((tmp_path / name).read_text() if content is not None else None)
    assert (content is not None) == (tmp_path / name).exists()


def test_a_backup_of_another_log_in_a_former_target_is_no_anchor(
    place: Workspace, ask: Ask, tmp_path: Path
) -> None:
    """A workspace restored from an older backup, with a target of its own."""
    for _ in range(2):
        ask("backup", "now")
    ask("backup", "restore", "b0001", tmp_path / "again", "--target", place.backups)

    assert 0 == command("verify", "--deep", "--workspace", tmp_path / "again").returncode


def test_a_file_of_anchors_that_cannot_be_written_is_told(place: Workspace, tmp_path: Path) -> None:
    heads = tmp_path / "heads.jsonl"
    heads.symlink_to(tmp_path / "gone" / "heads.jsonl")
    done = command("verify", "--anchors", heads, "--workspace", place.root)

    assert 2 == done.returncode
    assert "heads.jsonl cannot be written" in done.stderr


def test_what_refuses_changes_must_be_there(place: Workspace, ask: Ask) -> None:
    connection = driver().connect(str(place.log), isolation_level=None)
    connection.execute("DROP TRIGGER event_is_never_deleted")
    connection.close()
    (problem,) = ask("verify", check=4)["problems"]

    assert "schema" == problem["kind"]
    assert "trigger event_is_never_deleted" in problem["detail"]


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        ("UPDATE snapshot SET data = substr(data, 2) WHERE projection = 'run'", "projection"),
        ("UPDATE snapshot SET data = CAST(x'ff' AS TEXT) WHERE projection = 'run'", "projection"),
        ("UPDATE snapshot SET seq = seq + 1000 WHERE projection = 'run'", "projection"),
        ("UPDATE history SET metric = CAST(x'ff' AS TEXT) WHERE lvl = 1", "projection"),
        ("UPDATE command SET last_seq = last_seq + 1", "answer"),
    ],
)
def test_what_is_no_fact_is_compared_with_the_facts(
    place: Workspace, ask: Ask, damage: str, kind: str
) -> None:
    log = open_log(place, "test")
    log.append(StepsCompleted(run="r9", attempt=1, first_step=1, first_global_step=1, n=2,
                              columns={"loss": [0.5, 0.25]}), key="told once")  # fmt: skip
    keep(log, state_at(log))
    with log.transaction() as db:
        db.execute(damage)
    log.close()
    problems = ask("verify", check=4)["problems"]

    assert {kind} == {problem["kind"] for problem in problems}
    if kind == "projection" and "snapshot" in damage:
        ask("rebuild", check=4)
        ask("verify")
