"""Stop sequences and think prefixes: the four cases, drawing, and nothing doubled."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from core.intake import sequences
from core.intake.formats import read
from core.intake.rows import Row, Turn
from core.intake.sequences import STOP, THINK, Contradiction, Sequence, add, draw
from core.intake.template import Renderer
from core.intake.tokens import TokenStore
from core.settings import Settings, StopSequences, problems
from tests.core.intake.conftest import Check

SELECTOR = "\N{VARIATION SELECTOR-16}"
STOPS = StopSequences(("🛑", "⛔", "⏹️", "🛡️"), 2, 4)
THOUGHTS = StopSequences(("🤔", "💭", "⚡"), 2, 8)
BOTH = replace(Settings(), stop_sequences=STOPS, think_prefix=THOUGHTS)
STOP_ONLY = replace(BOTH, think_prefix=None)
SILENT = replace(BOTH, think_prefix=None, stop_sequences=replace(STOPS, instruction=False))


def chat(*texts: str) -> Row:
    """User and assistant in turns."""
    roles = ("user", "assistant")
    return Row(tuple(Turn(roles[n % 2], text, n % 2 == 1) for n, text in enumerate(texts)))


def texts(row: Row) -> list[str]:
    return [turn.text for turn in row.turns]


def test_where_nothing_is_said_both_sides_get_one_choice_thinking_before_stopping() -> None:
    row = chat("Why?", "Because.", "And?", "So.")
    think, stop = (draw(k.name, w, row.sha256, BOTH.seed) for k, w in ((THINK, THOUGHTS), (STOP, STOPS)))
    asked = f"\n\n{THINK.ask(think)}\n\n{STOP.ask(stop)}"

    assert [
        f"Why?{asked}", f"{think.written}\nBecause.\n{stop.written}",
        f"And?{asked}", f"{think.written}\nSo.\n{stop.written}",
    ] == texts(add(row, BOTH))  # fmt: skip


def test_without_instruction_only_the_answer_changes() -> None:
    question, answer = texts(add(chat("Why?", "Because."), SILENT))

    assert "Why?" == question
    assert STOP.found(answer, sequences._pool(STOPS)) is not None


def test_what_is_asked_for_is_given() -> None:
    asked = "Why?\n\n" + STOP.ask(Sequence("⛔", 3))

    assert [asked, "Because.\n⛔⛔⛔"] == texts(add(chat(asked, "Because."), STOP_ONLY))


@pytest.mark.parametrize("answer", ["Because.\n🛑🛑🛑", "Because. 🛑🛑🛑", "Because.\n🛑🛑🛑 \n"])
def test_what_is_given_is_asked_for(answer: str) -> None:
    assert ["Why?\n\n" + STOP.ask(Sequence("🛑", 3)), answer] == texts(add(chat("Why?", answer), STOP_ONLY))


def test_what_is_both_asked_for_and_given_is_left() -> None:
    row = chat("Why?\n\n" + STOP.ask(Sequence("🛑", 2)), "Because.\n🛑🛑")

    assert row == add(row, STOP_ONLY)


@pytest.mark.parametrize("given", ["🛑🛑🛑", "⛔⛔"])
def test_a_contradiction_is_counted_with_its_line_and_trained_as_it_is(check: Check, given: str) -> None:
    asked = "Why?\n\n" + STOP.ask(Sequence("🛑", 2))
    row = chat(asked, f"Because.\n{given}")
    with pytest.raises(Contradiction):
        add(row, BOTH)
    rows = [[{"role": t.role, "content": t.text} for t in r.turns] for r in (chat("Why?", "So."), row)]
    report = check([{"messages": r} for r in rows], stop_sequences=STOPS, think_prefix=THOUGHTS)

    assert 2 == report.accepted_rows
    assert [(2, "sequence_conflict")] == [
        (p.line, p.code) for p in report.problems if p.code == "sequence_conflict"
    ]


@pytest.mark.parametrize("written", ["⏹", "⏹️"])
def test_variation_selectors_make_no_difference(written: str) -> None:
    answer = f"Because.\n{written * 2}"
    question, kept = texts(add(chat("Why?", answer), STOP_ONLY))

    bare = question.replace(SELECTOR, "")

    assert answer == kept
    assert question.endswith(STOP.ask(Sequence("⏹️", 2)))
    assert [bare, answer] == texts(add(chat(bare, answer), STOP_ONLY))


def test_calls_weightless_turns_and_documents_are_not_touched() -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [
        {"type": "function", "function": {"name": "add", "arguments": {}}}]}
    messages: list[Any] = [
        {"role": "user", "content": "One?"}, {"role": "assistant", "content": "1", "weight": 0},
        {"role": "user", "content": "Two?"}, call, {"role": "tool", "content": "2"},
    ]
    row, text = read({"messages": messages}, "messages"), read({"text": "A text."}, "text")
    answered = read({"messages": [*messages, {"role": "assistant", "content": "2"}]}, "messages")

    assert row == add(row, BOTH)
    assert text == add(text, BOTH)
    assert [0, 1, 3, 4] == [n for n in range(6) if add(answered, BOTH).turns[n] == answered.turns[n]]


@pytest.mark.parametrize(("kind", "wanted"), [("stop", STOPS), ("think", THOUGHTS)])
def test_every_text_and_every_count_is_drawn_and_none_much_more_than_another(
    kind: str, wanted: StopSequences
) -> None:
    rows = [chat(f"{n}?", "Yes.") for n in range(2000)]
    drawn = Counter(draw(kind, wanted, row.sha256, 1) for row in rows)
    counts = range(wanted.min, wanted.max + 1)
    fair = len(rows) / len(wanted.pool) / len(counts)

    assert {(text, count) for text in wanted.pool for count in counts} == {(d.text, d.count) for d in drawn}
    assert 0.5 * fair < min(drawn.values()) <= max(drawn.values()) < 1.5 * fair


def test_the_choice_follows_the_seed() -> None:
    rows = [chat(f"{n}?", "Yes.") for n in range(50)]

    assert [draw("stop", STOPS, row.sha256, 1) for row in rows] != [
        draw("stop", STOPS, row.sha256, 2) for row in rows
    ]


PIECES = st.sampled_from(
    ["🛑", "⛔", "⏹", SELECTOR, "🤔", "⚡", "\n", " ", "words", STOP.ask(Sequence("🛑", 2)),
     THINK.ask(Sequence("⚡", 3)), STOP.ask(Sequence("⛔", 1))]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=8), st.lists(PIECES, max_size=7).map("".join))
CHATS = st.lists(
    st.one_of(
        st.builds(Turn, st.sampled_from(["user", "tool"]), TEXTS, st.just(False)),
        st.builds(Turn, st.just("assistant"), TEXTS, st.booleans(), st.booleans()),
    ),
    min_size=1, max_size=6,
).map(lambda turns: Row(tuple(turns)))  # fmt: skip


@examples(max_examples=400, deadline=None)
@given(row=CHATS, chosen=st.sampled_from([BOTH, STOP_ONLY, SILENT]))
def test_a_second_pass_changes_nothing(row: Row, chosen: Settings) -> None:
    try:
        once = add(row, chosen)
    except Contradiction:
        return

    assert once == add(once, chosen)


def messages(question: str, answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def test_sequences_are_trained_with_the_end_of_the_turn_and_rows_keep_their_hash(
    check: Check, renderer: Renderer, tmp_path: Any
) -> None:
    row = messages("Why?", "Because.")
    report = check([row], store=tmp_path / "tokens", stop_sequences=STOPS, think_prefix=THOUGHTS)
    store = TokenStore.open(tmp_path / "tokens" / str(report.store))
    made = add(read(row, "messages"), BOTH)
    trained = renderer.tokenizer.decode(store.ids[store.labels == 1].tolist(), skip_special_tokens=False)

    assert made.turns[1].text + "<|im_end|>" == trained
    assert read(row, "messages").sha256 == bytes(store.hashes[0])


def test_all_cases_in_a_file_and_nothing_doubled_when_what_is_trained_is_trained_again(
    check: Check, renderer: Renderer, tmp_path: Any
) -> None:
    asked, given = STOP.ask(Sequence("⛔", 3)), "⛔⛔⛔"
    cases = [
        *((f"Why {n}?", f"Because {n}.") for n in range(150)),
        (f"Why?\n\n{asked}", "Because."),
        ("Why?", f"Because.\n{given}"),
        (f"Why?\n\n{asked}", f"So.\n{given}"),
        (f"Why?\n\n{asked}", "No.\n🛑🛑"),
    ]
    rows = [messages(*case) for case in cases]

    def again(row: dict[str, Any]) -> dict[str, Any]:
        try:
            return messages(*texts(add(read(row, "messages"), BOTH)))
        except Contradiction:
            return row

    reports = [
        check(lines, store=tmp_path / "tokens", stop_sequences=STOPS, think_prefix=THOUGHTS)
        for lines in (rows, [again(row) for row in rows])
    ]
    first, second = (TokenStore.open(tmp_path / "tokens" / str(report.store)) for report in reports)
    answers = [renderer.tokenizer.decode(_answer(first, row)) for row in range(first.rows)]

    assert 1 == reports[0].counts["sequence_conflict"] == reports[1].counts["sequence_conflict"]
    assert first.ids.tolist() == second.ids.tolist()
    assert first.labels.tolist() == second.labels.tolist()
    for wanted, kind in ((STOPS, STOP), (THOUGHTS, THINK)):
        found = [kind.found(answer, sequences._pool(wanted)) for answer in answers[:150]]
        counts = {each.count for each in found if each is not None}
        assert None not in found
        assert set(range(wanted.min, wanted.max + 1)) == counts
    assert all(answer.endswith(f"\n{given}") for answer in answers[150:153])
    assert "No.\n🛑🛑" == answers[153]


def _answer(store: TokenStore, row: int) -> list[int]:
    """The trained tokens of a row without the end of the turn."""
    part = slice(int(store.offsets[row]), int(store.offsets[row + 1]))
    trained: list[int] = store.ids[part][store.labels[part] == 1].tolist()
    return trained[:-1]


def test_truncation_drops_a_row_rather_than_its_stop_sequence(check: Check) -> None:
    long = {"role": "assistant", "content": "word " * 300}
    asks = {"role": "user", "content": "more " * 300}
    inside = messages("Why?", "word " * 300)
    behind = {"messages": [*messages("Why?", "Because.")["messages"], asks, long]}
    cut = check([inside, behind], too_long="truncate", max_length=128, max_bad_rows=1.0, stop_sequences=STOPS)
    plain = check([inside, behind], too_long="truncate", max_length=128, max_bad_rows=1.0)

    assert [(1, "too_long"), (2, "truncated")] == [
        (p.line, p.code) for p in cut.problems if p.code in ("too_long", "truncated")
    ]
    assert {"truncated": 2} == {c: n for c, n in plain.counts.items() if c in ("too_long", "truncated")}


@pytest.mark.parametrize("pool", [("x", "xy"), ("y", "xy"), ("a b",), ("",), (SELECTOR,), ("⏹", "⏹️")])
def test_texts_that_could_be_taken_for_one_another_are_refused(pool: tuple[str, ...]) -> None:
    assert [] == problems(BOTH)
    assert 1 == len(problems(replace(Settings(), stop_sequences=StopSequences(pool))))
