"""Every hostile file by itself: its verdict, reason and line, and what it costs the process that checks."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from core.intake.checker import Checker
from core.intake.problems import FILE_ROW_CODES, ROW_CODES
from core.intake.report import Report
from tests.core.intake.test_checker import CONFIG
from tests.hostile import CASES, MARKER, Case, good, written

ALLOWED = 300 * 10**6  # bytes beside what the process holds after an ordinary file


class Measured:
    """A checker with one process for all of the cases, and the memory it had before the first of them."""

    def __init__(self, checker: Checker, base: Path, folder: Path) -> None:
        self.checker, self.base, self.folder = checker, base, folder
        ordinary = folder / "ordinary.jsonl"
        ordinary.write_bytes(written(*(good(f"ordinary {i}") for i in range(2_000))))
        self.examine(ordinary)
        (self.process,) = [p for p in psutil.Process().children() if "core.intake.checking" in p.cmdline()]
        self.before = self.process.memory_info().rss

    def examine(self, path: Path) -> Report:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        store = self.folder / "tokens"
        return self.checker.examine(path, sha256=sha256, base=self.base, config=CONFIG, store=store)

    def forget_peak(self) -> None:
        """The kernel counts the process's peak from here on."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def cost(self) -> int:
        """Bytes that the process held at most, beside what it had before."""
        status = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        (line,) = [each for each in status if each.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024 - self.before


@pytest.fixture(scope="module")
def measured(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Measured]:
    with Checker({}) as checker:
        yield Measured(checker, base, tmp_path_factory.mktemp("measured"))


@pytest.mark.parametrize("case", [case for case in CASES if case.is_checked], ids=str)
def test_a_hostile_file_gets_its_verdict_names_its_line_and_costs_little(
    case: Case, measured: Measured, tmp_path: Path
) -> None:
    path = case.make(tmp_path)
    assert path is not None
    measured.forget_peak()
    report = measured.examine(path)
    path.unlink()  # pytest keeps the folders of three runs

    said = report.warnings if report.is_accepted else (report.reason or "",)
    assert case.state == report.verdict, report
    assert not case.code or any(each.startswith(f"{case.code}: ") for each in said), report
    assert case.line in (None, *report.lines.get(case.code, ())[:1]), report
    assert report.is_accepted or case.code in ROW_CODES or case.code in FILE_ROW_CODES
    assert MARKER not in str(report.as_json())
    assert ALLOWED > measured.cost()
    assert measured.process.is_running()
    assert [] == list((measured.folder / "tokens").glob(".*"))


def test_there_are_enough_of_them() -> None:
    assert 150 <= len(CASES)
    assert len(CASES) == len({case.name for case in CASES})
