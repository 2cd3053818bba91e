"""All hostile cases at once into a running service: each comes to its one end, and the good files train."""

import hashlib
import json
import os
import threading
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from core.files import printable
from core.logbook import follow
from core.model.docstrings import harvest
from events.types import (
    ConfigChanged,
    DriftFound,
    Event,
    FileDuplicate,
    FileIgnored,
    FileLost,
    FileQueued,
    FileRejected,
    FileRemoved,
    FileValidated,
    JobFailed,
    ProcessCrashed,
    ProcessHung,
    TrainingFailed,
    VersionPublished,
)
from projections.fold import State
from tests.e2e.stage import Stage
from tests.hostile import MARKER, TOGETHER, Case, good, written

CONFIG = {
    "batch_size": 4,
    "gradient_accumulation": 1,
    "warmup_steps": 1,
    "max_length": 256,
    "poll_interval": 0.2,
    "disk_floor_gb": 0,
    "disk_target_gb": 0,
}
GOOD_ROWS, GROWING_ROWS = 24, 16
#: Of a check's report: what the log must say as well.
SAME = ("format", "rows", "accepted_rows", "dropped_rows", "counts", "lengths", "max_length")
PATIENCE = 240.0  # seconds; about forty are needed


@dataclass
class Battery:
    """What was made, by case: whether it can be, and the hash of a file."""

    folder: Path
    sha256: dict[str, Case] = field(default_factory=dict)
    again: list[Case] = field(default_factory=list)
    other: list[Case] = field(default_factory=list)
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)

    def path(self, case: Case) -> Path:
        return self.folder / os.fsdecode(case.name)

    def drop(self, inbox: Path) -> None:
        """Everything in the order it was made, by renaming: nothing is half there."""
        for top in sorted(self.folder.iterdir(), key=lambda path: path.lstat().st_mtime_ns):
            if top.name in ("high", "low"):
                for path in top.iterdir():
                    path.rename(inbox / top.name / path.name)
            else:
                top.rename(inbox / top.name)


@pytest.fixture
def stage(tmp_path: Path, demo_base: Path, evertrain: Callable[..., object]) -> Stage:
    root = tmp_path / "workspace"
    evertrain("init", "--base", demo_base, "--workspace", root)
    (root / "config.json").write_text(json.dumps(CONFIG))
    for n in range(2):
        rows = harvest(n * GOOD_ROWS, GOOD_ROWS)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (root / "inbox" / "high" / f"good-{n}.jsonl").write_text(text, encoding="utf-8")
    return Stage(root)


@pytest.fixture
def battery(tmp_path: Path) -> Battery:
    made = Battery(tmp_path / "made")
    for case in TOGETHER:
        path = case.make(made.folder)
        if path is None:
            continue
        if case.is_checked:
            with path.open("rb") as file:
                made.sha256[hashlib.file_digest(file, "sha256").hexdigest()] = case
        else:
            (made.again if case.state == "duplicate" else made.other).append(case)
    return made


def test_all_at_once_each_hostile_file_has_its_one_end_and_the_good_ones_train(
    stage: Stage, battery: Battery, evertrain: Callable[..., "CompletedProcess[str]"]
) -> None:
    grown, writer = growing(stage.workspace.inbox / "grows.jsonl")
    with stage.serving():
        stage.wait_for_fact(ConfigChanged, 2)  # ours is in force
        paths = [battery.path(case) for case in battery.sha256.values()]
        checked = evertrain("check", "--json", "--workspace", stage.root, *paths, check=1)
        battery.reports = {report["sha256"]: report for report in json.loads(checked.stdout)}
        writer.start()
        battery.drop(stage.workspace.inbox)
        state = every_end(stage, battery)
        writer.join()
        pages = [get(stage, page) for page in ("/", "/queue", "/audit", "/queue.json", "/healthz")]
        stage.terminate()

    ends: dict[str, list[str]] = defaultdict(list)
    for recorded in stage.facts(FileRejected, FileQueued, FileRemoved, FileLost, TrainingFailed):
        event = recorded.event
        ends[event.sha256].append(type(event).__name__)  # type: ignore[attr-defined]
    expected = {
        sha256: ["FileRejected" if case.state == "rejected" else "FileQueued"]
        for sha256, case in battery.sha256.items()
    }

    assert 150 <= len(battery.sha256) + len(battery.again) + len(battery.other)
    assert expected == {sha256: end for sha256, end in ends.items() if sha256 in battery.sha256}
    assert {} == differences(stage, battery)
    received = {sha: file.original for sha, file in state.inbox.files.items() if sha in battery.sha256}
    doubled = {recorded.event.sha256 for recorded in stage.facts(FileDuplicate)}  # type: ignore[attr-defined]
    assert {
        sha: printable(os.fsdecode(case.name)) for sha, case in battery.sha256.items() if sha not in doubled
    } == {sha: name for sha, name in received.items() if sha not in doubled}
    # of the same bytes under two names the one that a look finds first is taken in
    everything = names([*battery.sha256.values(), *battery.again])
    assert everything == Counter(received.values()) + told(stage, FileDuplicate)
    assert names([case for case in battery.other if case.state == "ignored"]) == told(stage, FileIgnored)
    assert inbox_of(battery.other) == set(left(stage.workspace.inbox))
    assert ["FileQueued"] == ends[hashlib.sha256(grown).hexdigest()]
    assert {"good-0.jsonl", "good-1.jsonl"} <= {
        published.event.file  # type: ignore[attr-defined]
        for published in stage.facts(VersionPublished)
    }
    assert [] == stage.facts(ProcessCrashed, ProcessHung, JobFailed, DriftFound)
    assert [] == leaks(stage.root)
    assert all(MARKER not in page and "\x1b" not in page for page in pages)
    assert all("<script>alert" not in page and "<img src=x" not in page for page in pages[:3])
    assert not (stage.root / "injected").exists()


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_what_is_odd_but_right_is_trained_to_a_version(stage: Stage, battery: Battery) -> None:
    battery.drop(stage.workspace.inbox)
    right = {sha256 for sha256, case in battery.sha256.items() if case.state != "rejected"}
    stage.serve_until_idle(timeout=800)
    published = {recorded.event.sha256 for recorded in stage.facts(VersionPublished)}  # type: ignore[attr-defined]

    assert right <= published
    assert [] == stage.facts(ProcessCrashed, ProcessHung, JobFailed, DriftFound, TrainingFailed)
    assert [] == leaks(stage.root)


def growing(path: Path) -> tuple[bytes, threading.Thread]:
    """What somebody will have written in the end, a row at a time, never holding the file open."""
    rows = [written(good(f"growing {i}")) for i in range(GROWING_ROWS)]

    def write() -> None:
        for row in rows:
            with path.open("ab") as file:
                file.write(row)
            time.sleep(0.05)  # less than the time between two looks

    return b"".join(rows), threading.Thread(target=write)


def every_end(stage: Stage, battery: Battery) -> State:
    """The state in which all has ended, looked at seldom: the service needs the processor."""
    with stage.log() as log:
        follower = follow(log)
        deadline = time.monotonic() + PATIENCE
        while not has_ended(stage, state := follower.catch_up(), battery):
            assert time.monotonic() < deadline
            time.sleep(0.5)
    return state


def has_ended(stage: Stage, state: State, battery: Battery) -> bool:
    known = {sha256: entry.state for sha256, entry in state.queue.entries.items()}
    ends = all(known.get(sha256, "validating") != "validating" for sha256 in battery.sha256)
    ignored = sum(case.state == "ignored" for case in battery.other)
    trained = [entry.state for entry in state.queue.entries.values() if entry.name.startswith("good-")]
    return (
        ends
        and len(state.inbox.duplicates) >= len(battery.again)
        and len(state.inbox.ignored) >= ignored
        and any(file.original == "grows.jsonl" for file in state.inbox.files.values())
        and trained == ["completed"] * 2
        and len(stage.facts(VersionPublished)) >= 2
        and not state.queue.unsettled
    )


def differences(stage: Stage, battery: Battery) -> dict[str, tuple[Any, Any]]:
    """Where the log says otherwise than `evertrain check` about the same bytes."""
    found: dict[str, tuple[Any, Any]] = {}
    for recorded in stage.facts(FileRejected, FileValidated):
        event: Any = recorded.event
        case, report = battery.sha256.get(event.sha256), battery.reports.get(event.sha256)
        if case is None or report is None:
            continue
        lines: dict[str, list[int]] = {}
        for problem in report["problems"]:
            if problem["line"]:
                lines.setdefault(problem["code"], []).append(problem["line"])
        said = {key: report[key] for key in SAME} | {"lines": lines}
        said["reason"] = report["reason"]
        logged = {key: getattr(event, key) for key in SAME}
        logged["lines"] = {code: list(numbers) for code, numbers in event.lines.items()}
        logged["reason"] = getattr(event, "reason", None)
        verdict = getattr(event, "verdict", "rejected")
        if (said, report["verdict"]) != (logged, verdict) or verdict != case.state:
            found[str(case)] = said, logged
    assert battery.reports.keys() == battery.sha256.keys()
    return found


def names(cases: list[Case]) -> Counter[str]:
    return Counter(printable(os.fsdecode(case.name)) for case in cases)


def told(stage: Stage, kind: type[Event]) -> Counter[str]:
    return Counter(recorded.event.original for recorded in stage.facts(kind))  # type: ignore[attr-defined]


def inbox_of(cases: list[Case]) -> set[str]:
    return {os.fsdecode(case.name) for case in cases}


def left(inbox: Path) -> list[str]:
    """What still lies in the inbox: everything that is no folder, and folders that are cases."""
    found = [path for path in inbox.rglob("*") if path.is_symlink() or not path.is_dir()]
    return [str(path.relative_to(inbox)) for path in [*found, inbox / "empty folder.jsonl"]]


def leaks(root: Path) -> list[str]:
    """Files of ours, reports included, with a word of a row in them; a backup has copies by right."""
    rows = [root / "inbox", root / "queue", root / "backups"]
    ours = [
        path
        for path in root.rglob("*")
        if path.is_file()
        and not path.is_symlink()
        and (path.name.endswith(".report.json") or not any(path.is_relative_to(each) for each in rows))
    ]
    assert any(path.name == "evertrain.sqlite" for path in ours)
    assert any(path.name.endswith(".report.json") for path in ours)
    return [str(path) for path in ours if MARKER.encode() in path.read_bytes()]


def get(stage: Stage, page: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{stage.port}{page}", timeout=30) as answer:
        return str(answer.read().decode())

