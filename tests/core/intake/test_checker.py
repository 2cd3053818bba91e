"""The check in a process of its own: the same report, a bound for what it costs, and an end to it."""

import hashlib
import json
import os
import signal
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.intake.checker import Checker, Limits
from core.intake.report import Report
from core.intake.template import Renderer
from core.intake.validate import examine
from core.settings import Settings

CONFIG = json.loads(json.dumps(asdict(Settings())))
ROW = json.dumps({"prompt": "What is it?", "completion": "It is what it is, and nothing else."}) + "\n"


def file(folder: Path, text: str, name: str = "rows.jsonl") -> tuple[Path, str]:
    path = folder / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


def children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children() if "core.intake.checking" in p.cmdline()]


def asked(base: Path, folder: Path, text: str, limits: Limits | None = None, **more: Any) -> Report:
    path, sha256 = file(folder, text)
    with Checker({}, limits) as checker:
        return checker.examine(path, sha256=sha256, base=base, config=CONFIG, **more)


@pytest.mark.parametrize("text", [ROW * 9, ROW * 9 + "{\n", "{\n" * 9, "", "\ufeff" + ROW])
def test_it_says_what_the_check_says(base: Path, renderer: Renderer, tmp_path: Path, text: str) -> None:
    path, sha256 = file(tmp_path, text, "a\udcff\n\x1b[2J.jsonl")
    here = examine(path, sha256=sha256, renderer=renderer, settings=Settings(), store=tmp_path / "here")
    with Checker({}) as checker:
        for place in ("there", "there"):  # the second answer comes from the store
            there = checker.examine(
                path, sha256=sha256, base=base, config=CONFIG, store=tmp_path / place
            )
            running = [child.pid for child in children()]

            assert here == replace(there, seconds=here.seconds)
            assert 1 == len(running)
    if here.store is not None:
        names = [path.name for path in (tmp_path / "here" / here.store).glob("*.bin")]

        assert names
        assert all(
            (tmp_path / "here" / here.store / name).read_bytes()
            == (tmp_path / "there" / here.store / name).read_bytes()
            for name in names
        )
    assert [] == children()


def test_too_much_memory_is_the_end_of_that_file_alone(base: Path, tmp_path: Path) -> None:
    huge = json.dumps({"text": "word " * 4_000_000}) + "\n"
    limits = Limits(memory_bytes=16 << 20)
    path, sha256 = file(tmp_path, huge, "huge.jsonl")
    good, good_sha256 = file(tmp_path, ROW * 9)
    with Checker({}, limits) as checker:
        report = checker.examine(path, sha256=sha256, base=base, config=CONFIG, store=tmp_path / "tokens")
        after = checker.examine(good, sha256=good_sha256, base=base, config=CONFIG)

    assert "rejected" == report.verdict
    assert (report.reason or "").startswith("check_failed: ") and "memory" in (report.reason or "")
    assert [] == [*(tmp_path / "tokens").glob(".*"), *(tmp_path / "tokens").glob("*")]
    assert after.is_accepted


def test_too_much_time_is_an_end_as_well(base: Path, tmp_path: Path) -> None:
    limits = Limits(cpu_seconds=0.5, bytes_per_second=1 << 40)
    report = asked(base, tmp_path, ROW * 50_000, limits, store=tmp_path / "tokens")

    assert "rejected" == report.verdict
    assert "processor time" in (report.reason or "")
    assert [] == [*(tmp_path / "tokens").glob(".*"), *(tmp_path / "tokens").glob("*")]


def test_a_check_that_somebody_killed_is_done_again(base: Path, tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_once(read: int, size: int) -> None:
        if not killed:
            killed.extend(child.pid for child in children())
            os.kill(killed[0], signal.SIGKILL)

    report = asked(base, tmp_path, ROW * 8_000, progress=kill_once)

    assert 1 == len(killed)
    assert report.is_accepted


def test_one_that_is_killed_each_time_is_given_up(base: Path, tmp_path: Path) -> None:
    def kill(read: int, size: int) -> None:
        for child in children():
            child.kill()

    report = asked(base, tmp_path, ROW * 8_000, progress=kill)

    assert "rejected" == report.verdict
    assert "SIGKILL" in (report.reason or "")


def test_who_is_asked_to_stop_leaves_nothing(base: Path, tmp_path: Path) -> None:
    def stop(read: int, size: int) -> None:
        if list((tmp_path / "tokens").glob(".*")):
            raise InterruptedError

    with pytest.raises(InterruptedError):
        asked(base, tmp_path, ROW * 20_000, progress=stop, store=tmp_path / "tokens")

    assert [] == children()
    assert [] == list((tmp_path / "tokens").glob(".*"))


def test_what_the_system_says_is_raised_here(base: Path, tmp_path: Path) -> None:
    with Checker({}) as checker, pytest.raises(FileNotFoundError, match=r"gone\.jsonl"):
        checker.examine(tmp_path / "gone.jsonl", sha256="", base=base, config=CONFIG)


def test_the_time_is_spent_there_and_not_by_the_asker(base: Path, tmp_path: Path) -> None:
    """What makes the daemon late is its own interpreter at work."""
    path, sha256 = file(tmp_path, ROW * 8_000)
    with Checker({}) as checker:
        checker.examine(*file(tmp_path, ROW, "first.jsonl")[:1], sha256="", base=base, config=CONFIG)
        (child,) = children()
        ours, before = time.process_time(), sum(child.cpu_times()[:2])
        checker.examine(path, sha256=sha256, base=base, config=CONFIG)
        there, here = sum(child.cpu_times()[:2]) - before, time.process_time() - ours

    assert 5 * here < there
