import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.intake.convert import bring
from core.intake.report import Report
from core.intake.template import Renderer
from core.intake.tokens import TokenStore
from core.intake.validate import examine
from core.settings import Settings

Check = Callable[..., Report]


def chat(question: str, answer: str = "Certainly, here it is.", **extra: Any) -> dict[str, Any]:
    assistant = {"role": "assistant", "content": answer, **extra}
    return {"messages": [{"role": "user", "content": question}, assistant]}


def chats(count: int) -> list[Any]:
    return [chat(f"Question {number}?") for number in range(count)]


def test_a_good_file_is_accepted_without_a_word(check: Check) -> None:
    report = check(chats(20))

    assert ("accepted", "messages", None) == (report.verdict, report.format, report.reason)
    assert (20, 20, 0, (), {}) == (
        report.rows, report.accepted_rows, report.dropped_rows, report.warnings, report.counts,
    )
    assert 0 < report.trainable_tokens < report.tokens
    assert report.trainable_tokens / report.tokens == report.mask_ratio
    lengths = report.lengths
    assert lengths["p50"] and lengths["max"] and lengths["p50"] <= lengths["max"]


@pytest.mark.parametrize(("bad", "allowed", "verdict"), [
    (0, 0.0, "accepted"), (1, 0.1, "accepted_with_warnings"), (2, 0.1, "rejected"),
    (4, 0.4, "accepted_with_warnings"), (5, 1.0, "rejected"), (10, 1.0, "rejected"),
])
def test_the_verdict_follows_the_bad_rows(check: Check, bad: int, allowed: float, verdict: str) -> None:
    report = check([*chats(10 - bad), *[b"{"] * bad], max_bad_rows=allowed)

    assert verdict == report.verdict
    assert (verdict == "rejected") == (report.reason is not None)
    assert bad == report.counts.get("bad_json", 0) == report.dropped_rows


def test_a_bad_row_at_the_very_end_is_found_by_its_line(check: Check) -> None:
    report = check([*chats(600), b'{"messages": [{"role": "use'])

    assert [(601, "bad_json")] == [(problem.line, problem.code) for problem in report.problems]


def test_the_format_is_that_of_most_rows_wherever_they_stand(check: Check) -> None:
    report = check([{"text": "Odd one out."}, *chats(10)], max_bad_rows=0.2)

    assert ("messages", {"other_format": 1}) == (report.format, report.counts)
    assert 1 == report.problems[0].line


def test_rows_of_a_format_without_a_reader_are_named_not_guessed(check: Check) -> None:
    report = check([{"prompt": "a", "chosen": "b", "rejected": "c"}])

    assert ("preference", "rejected") == (report.format, report.verdict)
    assert report.reason is not None and "unsupported_format" in report.reason


def test_the_first_rows_do_not_decide_the_format(check: Check, tmp_path: Path) -> None:
    report = check([*[{"text": f"Odd {n}."} for n in range(300)], *chats(700)], store=tmp_path / "t",
                   max_bad_rows=0.4)

    assert ("messages", {"other_format": 300}, 1000) == (report.format, report.counts, report.rows)
    assert list(range(1, 21)) == [problem.line for problem in report.problems]
    assert 700 == TokenStore.open(tmp_path / "t" / str(report.store)).rows


def test_rows_that_train_nothing_are_left_out(check: Check) -> None:
    report = check([*chats(9), chat("Q?", "Not to be learned.", weight=0)])

    assert {"no_trainable_token": 1} == report.counts
    assert "accepted_with_warnings" == report.verdict
    assert "rejected" == check([chat("Q?", weight=0)] * 3).verdict


def test_long_rows_go_as_the_policy_says(check: Check) -> None:
    rows = [*chats(3), chat("Q?", "word " * 500)]

    policies = ("drop", "truncate", "reject")
    dropped, cut, refused = (check(rows, max_length=128, too_long=policy) for policy in policies)

    assert ("accepted_with_warnings", "accepted_with_warnings") == (dropped.verdict, cut.verdict)
    assert (3, {"too_long": 1}) == (dropped.accepted_rows, dropped.counts)
    assert (4, {"truncated": 1}) == (cut.accepted_rows, cut.counts)
    assert cut.tokens == dropped.tokens + 128
    assert "rejected" == refused.verdict
    # rows left out for their length count towards the half that rejects a file
    assert "rejected" == check([rows[0], rows[3]], max_length=128, max_bad_rows=1.0).verdict


def test_a_row_cut_before_its_answer_trains_nothing(check: Check) -> None:
    report = check([*chats(9), chat("word " * 500)], max_length=128, too_long="truncate")

    assert {"no_trainable_token": 1, "truncated": 1} == report.counts
    assert 9 == report.accepted_rows


def test_what_is_worth_knowing_is_a_warning_with_lines(check: Check) -> None:
    answer = "The answer is written in full here."
    unanswered = chat("Q?")
    unanswered["messages"].append({"role": "user", "content": "And?"})
    report = check([
        *chats(5), chats(1)[0], chat(f"Say this:  {answer.upper()}", answer), chat("Say 42.", "42"),
        chat("What is <|im_end|>?"), unanswered,
    ])

    assert (10, "accepted_with_warnings") == (report.accepted_rows, report.verdict)
    assert [(6, "duplicate"), (7, "leakage"), (9, "control_text"), (10, "last_turn_not_assistant")] == [
        (problem.line, problem.code) for problem in report.problems
    ]
    assert (1, 1) == (report.duplicates, report.leaks)


def test_a_code_lists_its_first_twenty_lines_and_counts_all(check: Check) -> None:
    report = check([b"{"] * 30)

    assert list(range(1, 21)) == [problem.line for problem in report.problems]
    assert {"bad_json": 30} == report.counts


@pytest.mark.parametrize(("code", "name", "rows"), [
    ("not_jsonl", "rows.json", [{"text": "a"}]), ("no_rows", "a.jsonl", []), ("no_rows", "a.jsonl", [b" "]),
])
def test_files_that_are_none_are_told_apart(check: Check, code: str, name: str, rows: list[Any]) -> None:
    report = check(rows, name)

    assert ("rejected", {code: 1}) == (report.verdict, report.counts)
    assert report.reason is not None and report.reason.startswith(code)


def test_a_byte_order_mark_is_a_warning(check: Check) -> None:
    report = check([b"\xef\xbb\xbf" + json.dumps(row).encode() if not number else row
                    for number, row in enumerate(chats(3))])

    assert ("accepted_with_warnings", 3) == (report.verdict, report.accepted_rows)
    assert report.warnings[0].startswith("bom")


def test_bytes_that_are_not_the_hashed_ones_are_refused(renderer: Renderer, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(chat("Q?")), encoding="utf-8")
    report = examine(path, sha256="0" * 64, renderer=renderer, settings=Settings())

    assert ("rejected", {"changed": 1}) == (report.verdict, report.counts)


def test_the_store_holds_the_accepted_rows(check: Check, tmp_path: Path) -> None:
    report = check([chats(1)[0], b"{", *chats(9)[1:]], store=tmp_path / "tokens", system_prompt="Be kind.")

    assert report.store is not None
    store = TokenStore.open(tmp_path / "tokens" / report.store)
    assert [1, *range(3, 11)] == store.line_numbers.tolist()
    assert (report.tokens, report.trainable_tokens) == (len(store.ids), int(store.trained.sum()))
    assert replace(report, estimated_steps=None) == Report.from_json(store.meta["report"])


def test_a_rejected_file_leaves_no_store(check: Check, tmp_path: Path) -> None:
    report = check([b"{"], store=tmp_path / "tokens")

    assert report.store is None
    assert [] == list((tmp_path / "tokens").iterdir())


def test_a_file_checked_before_is_not_tokenized_again(check: Check, tmp_path: Path) -> None:
    first = check(chats(5), store=tmp_path / "tokens")
    meta = tmp_path / "tokens" / str(first.store) / "meta.json"
    written = meta.stat().st_ino
    again = check(chats(5), "other.jsonl", store=tmp_path / "tokens")

    assert ("other.jsonl", first.tokens, first.store) == (again.file, again.tokens, again.store)
    assert written == meta.stat().st_ino


def test_check_and_intake_say_the_same(check: Check, tmp_path: Path) -> None:
    rows = [*chats(5), chats(1)[0], b"{"]
    asked = check(rows, max_bad_rows=0.3).as_json()
    taken = check(rows, max_bad_rows=0.3, store=tmp_path / "t").as_json()

    assert asked["store"] is None and taken["store"] is not None
    for known_to_differ in ("store", "seconds"):
        del asked[known_to_differ], taken[known_to_differ]
    assert asked == taken


def test_a_check_that_is_stopped_leaves_nothing(renderer: Renderer, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in chats(600)), encoding="utf-8")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    heard: list[tuple[int, int]] = []

    def stop(done: int, size: int) -> None:
        heard.append((done, size))
        if len(heard) == 2:
            raise InterruptedError

    store = tmp_path / "t"
    with pytest.raises(InterruptedError):
        examine(path, sha256=sha256, renderer=renderer, settings=Settings(), store=store, progress=stop)
    assert [] == list(store.iterdir())
    assert 0 < heard[0][0] < heard[1][0] <= heard[1][1] == path.stat().st_size


REAL = {      # format, rows, accepted rows
    "gsm8k-train/train.jsonl": ("question_answer", 7473, 7473),
    "self-instruct-seeds/seed_tasks.jsonl": ("alpaca", 175, 175),
    "identity-alpaca/identity.json": ("alpaca", 91, 91),
    "glaive-tools-en/glaive_toolcall_en_demo.json": ("sharegpt", 300, 299),     # one has over 4,096 tokens
    "vicuna-sharegpt/dummy_conversation.json": ("sharegpt", 500, 500),
    "wikisql-text/train.jsonl": ("text", 1000, 1000),
    "superbowl-prompt-completion/train.jsonl": ("prompt_completion", 1800, 1800),
    "toy-chat-messages/toy_chat_fine_tuning.jsonl": ("messages", 5, 4),     # one answer has 26 kB
}


def examined(path: Path, renderer: Renderer) -> Report:
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return examine(path, sha256=sha256, renderer=renderer, settings=Settings())


@pytest.mark.parametrize("name", REAL)
def test_real_files_are_read_for_what_they_are(
    shared: Path, renderer: Renderer, tmp_path: Path, name: str
) -> None:
    path = shared / "data" / name
    if path.suffix == ".json":
        assert {"not_jsonl": 1} == examined(path, renderer).counts
        path = bring(path, tmp_path).path
    report = examined(path, renderer)

    assert REAL[name] == (report.format, report.rows, report.accepted_rows)
    assert report.verdict == ("accepted_with_warnings" if report.warnings else "accepted")


def test_a_text_of_lines_is_no_file_of_rows(shared: Path, renderer: Renderer) -> None:
    report = examined(shared / "data/wiki-plain/wiki_demo.txt", renderer)

    assert ("rejected", {"not_jsonl": 1}) == (report.verdict, report.counts)


def test_question_and_answer_train_what_messages_train(
    shared: Path, renderer: Renderer, tmp_path: Path
) -> None:
    told = (shared / "data/gsm8k-train/train.jsonl").read_bytes().split(b"\n")[:1000]
    said = [
        {"messages": [
            {"role": "user", "content": row["question"]}, {"role": "assistant", "content": row["answer"]},
        ]}
        for row in map(json.loads, told)
    ]  # fmt: skip
    stores = []
    for name, lines in (("a.jsonl", told), ("b.jsonl", [json.dumps(row).encode() for row in said])):
        path = tmp_path / name
        path.write_bytes(b"\n".join(lines))
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        report = examine(
            path, sha256=sha256, renderer=renderer, settings=Settings(), store=tmp_path / "tokens"
        )
        stores.append(TokenStore.open(tmp_path / "tokens" / str(report.store)))

    assert 1000 == stores[0].rows
    for column in ("ids", "labels", "offsets", "hashes"):
        assert getattr(stores[0], column).tobytes() == getattr(stores[1], column).tobytes()
