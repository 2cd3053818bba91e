"""The report: rows that were there before, steps to come, an example, and files with very many rows."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.decide import estimate
from core.decide.batches import lay_out
from core.intake import twins
from core.intake.example import example
from core.intake.template import Renderer
from core.intake.tokens import TokenStore
from core.intake.validate import Past, examine
from core.settings import Settings
from events.types import StepsCompleted
from tests.core.intake.conftest import Check
from tests.facts import specimen


def asked(number: int) -> dict[str, Any]:
    return {"question": f"What is {number}?", "answer": f"It is number {number}, of course."}


def written(path: Path, rows: list[Any]) -> tuple[Path, str]:
    content = b"".join(
        (row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows
    )
    path.write_bytes(content)
    return path, hashlib.sha256(content).hexdigest()


def test_rows_of_trained_files_are_told_by_line(renderer: Renderer, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    first, sha256 = written(tmp_path / "first.jsonl", [asked(n) for n in range(30)])
    report = examine(first, sha256=sha256, renderer=renderer, settings=Settings(), store=tokens)
    trained = (tokens / "swept", tokens / str(report.store))
    path, sha256 = written(tmp_path / "second.jsonl", [asked(n) for n in (28, 99, 28, 29, 77)])

    def check(store: Path | None) -> Any:
        return examine(
            path, sha256=sha256, renderer=renderer, settings=Settings(), store=store, past=Past(trained)
        )

    asked_for, taken, again = check(None), check(tokens), check(tokens)
    assert [(1, 3, 4)] * 3 == [each.lines["trained_before"] for each in (asked_for, taken, again)]
    assert (3, {"duplicate": 1, "trained_before": 3}) == (taken.trained_before, taken.counts)
    assert "accepted_with_warnings" == taken.verdict
    assert any(warning.startswith("trained_before: 3 of 5 rows") for warning in taken.warnings)
    # what depends on the day is not kept with the tokens
    kept = TokenStore.open(tokens / str(taken.store)).meta["report"]
    assert (0, None) == (kept["trained_before"], kept["estimated_steps"])


def test_no_more_rows_are_compared_than_memory_is_meant_for(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twins, "COMPARED", 4)
    report = check([asked(n) for n in (1, 2, 2, 3, 3, 3)])

    assert (3,) == report.lines["duplicate"]
    assert any("first 4 rows only" in warning or "rows only" in warning for warning in report.warnings)


def test_steps_and_time_are_told_before(renderer: Renderer, tmp_path: Path) -> None:
    settings = replace(Settings(), max_length=256, batch_size=2, gradient_accumulation=2, epochs=3)
    path, sha256 = written(tmp_path / "a.jsonl", [asked(n) for n in range(2000)])
    speed = estimate.tokens_per_second(
        specimen(StepsCompleted, n=2, columns={"tokens": (100.0, 200.0), "seconds": (0.5, 1.0)})
    )
    report = examine(
        path, sha256=sha256, renderer=renderer, settings=settings, store=tmp_path / "t",
        past=Past(tokens_per_second=speed),
    )
    store = TokenStore.open(tmp_path / "t" / str(report.store))
    planned = lay_out(store.hashes, store.lengths, settings, sha256=sha256).plan.steps_planned

    assert report.estimated_steps is not None
    assert 0.9 * planned <= report.estimated_steps <= planned
    assert 200 == speed
    assert report.tokens * 3 / 200 == report.estimated_seconds
    assert estimate.tokens_per_second(None) is None
    assert 0 == estimate.steps(0, 0, settings)


def test_a_rejected_file_has_no_steps_to_come(check: Check) -> None:
    assert check([b"{"]).estimated_steps is None


def test_an_example_is_the_row_with_its_mask(renderer: Renderer, tmp_path: Path) -> None:
    path, _ = written(tmp_path / "a.jsonl", [b"{", {"text": "other"}, asked(1)])
    shown = example(path, "question_answer", renderer, replace(Settings(), system_prompt="Be kind."))

    assert shown is not None
    assert 3 == shown.line
    assert [False, True, False] == [segment.trained for segment in shown.segments]
    assert "It is number 1, of course.<|im_end|>" == shown.segments[1].text
    assert "<|im_start|>system\nBe kind.<|im_end|>" in shown.segments[0].text
    assert example(path, "messages", renderer, Settings()) is None


@pytest.mark.parametrize(("bad", "verdict"), [(1, "accepted_with_warnings"), (10_000, "rejected")])
def test_ten_thousand_rows_and_what_stands_at_their_very_end(
    check: Check, bad: int, verdict: str
) -> None:
    report = check([*[{"text": f"Row {n}"} for n in range(10_000)], *[b'{"text": '] * bad])

    assert (verdict, 10_000, {"bad_json": bad}) == (report.verdict, report.accepted_rows, report.counts)
    assert tuple(range(10_001, 10_001 + min(bad, 20))) == report.lines["bad_json"]


@pytest.mark.chaos
@pytest.mark.timeout(900)
def test_two_hundred_thousand_tiny_rows_are_read(renderer: Renderer, tmp_path: Path) -> None:
    path = tmp_path / "tiny.jsonl"
    path.write_bytes(b"".join(b'{"text":"%x"}\n' % n for n in range(1 << 16, (1 << 16) + 200_000)))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    report = examine(path, sha256=sha256, renderer=renderer, settings=Settings(), store=tmp_path / "t")

    assert (True, 200_000, {}) == (report.is_accepted, report.accepted_rows, report.counts)
    assert 200_000 == TokenStore.open(tmp_path / "t" / str(report.store)).rows
