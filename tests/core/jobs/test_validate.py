"""Asking and dropping say the same, and the facts hold the report."""

import hashlib
import json

import pytest
from msgspec.structs import replace

from core.intake.validate import examine
from core.jobs.service import Service
from core.jobs.validate import past, rejected, validated
from events.types import FileRejected, FileValidated
from projections import checks
from tests.core.jobs.work import drop, facts, rows, take_in, train_one

CASES = {
    "good": rows("good"),
    "some bad": rows("some") + "{\n[]\n",
    "too many bad": rows("many", 20) + "{\n" * 5,
    "half bad": rows("half", 3) + "{\n" * 3,
    "mixed": rows("mixed", 30) + '{"text": "odd"}\n{"question": "a", "answer": "b"}\n',
    "no rows": "\n\n",
    "doubled": rows("doubled") * 2,
    "trained before": rows("old") + rows("new"),
    "leaking": rows("leak") + json.dumps({"prompt": "Say: a rather long answer here", "completion":
                                          "a rather long answer here"}) + "\n",
    "bom": "\ufeff" + rows("bom"),
    "tools": json.dumps({"messages": [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": None, "tool_calls": [{"name": "f", "arguments": {}}]},
        {"role": "tool", "content": "1"}, {"role": "tool", "content": "2"},
    ], "tools": [{"name": "g"}]}) + "\n",
}  # fmt: skip


def test_asking_and_dropping_say_the_same(service: Service) -> None:
    drop(service, "old.jsonl", rows("old"))
    take_in(service)
    train_one(service)
    told = {}
    for name, text in CASES.items():
        path = drop(service, f"{name}.jsonl", text)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        report = examine(
            path, sha256=sha256, renderer=service.renderer(), settings=service.settings(),
            past=past(service.state(), service.log, service.workspace, sha256),
        )
        told[sha256] = report
    take_in(service)
    found = {fact.sha256: fact for fact in facts(service, FileValidated, FileRejected)
             if isinstance(fact, (FileValidated, FileRejected)) and fact.sha256 in told}  # fmt: skip

    assert told.keys() == found.keys()
    for sha256, report in told.items():
        fact = found[sha256]
        if isinstance(fact, FileRejected):
            assert rejected(sha256, report) == fact
        else:
            answer = validated(sha256, report)
            assert fact == replace(answer, store=fact.store, seconds=fact.seconds)
    accepted = {fact.counts.get("trained_before", 0) for fact in found.values()}
    assert {0, 40} == accepted


@pytest.mark.parametrize("name", ["some bad", "half bad"])
def test_the_log_holds_the_report_without_a_word_of_the_rows(service: Service, name: str) -> None:
    drop(service, "a.jsonl", CASES[name])
    take_in(service)
    (file,) = service.state().inbox.files.values()
    document = checks.check(file)

    assert document is not None
    assert dict(file.counts) == document["counts"]
    assert document["lines"]["bad_json"][0] == CASES[name].split("\n").index("{") + 1
    assert (document["verdict"] == "rejected") == (document["estimated_steps"] is None)
    assert document["lengths"]["max"] and document["max_length"] == service.settings().max_length
    assert "What is" not in json.dumps(document)


def test_a_rejected_file_has_the_whole_report_beside_it(service: Service) -> None:
    drop(service, "a.jsonl", CASES["half bad"])
    take_in(service)
    written = json.loads((service.workspace.queue / "failed" / "a.jsonl.report.json").read_text())

    assert [4, 5, 6] == [problem["line"] for problem in written["problems"]]
    assert ("rejected", {"bad_json": 3}) == (written["verdict"], written["counts"])
    assert written["lengths"]["max"] > 0
