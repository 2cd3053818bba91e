"""The hash that tells rows apart, also of rows that are made to be expensive."""

import hashlib
import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.intake.encoded import ENOUGH, cut
from core.intake.report import LEAK_LENGTH, LEAK_REACH, leaks
from core.intake.rows import PIECE, Row, Turn, composed, is_composed

TOOLS = ({"name": "é", "parameters": {"type": "object"}},)


def chat(question: str, answer: str) -> Row:
    return Row((Turn("user", question, False), Turn("assistant", answer, True)))


@pytest.mark.parametrize(
    "text", ["", 'a"\\\n\u2028', "e\u0301🤔", "🤔é" * PIECE, "x" * (2 * PIECE + 1)], ids=len
)
def test_a_rows_hash_is_that_of_its_canonical_json_however_long_it_is(text: str) -> None:
    """What is held out, and what was trained before, rests on it in every workspace there is."""
    for tools in (None, TOOLS):
        row = Row(chat(text, text).turns, tools)
        parts = [[turn.role, unicodedata.normalize("NFC", text), turn.trained] for turn in row.turns]
        whole = json.dumps([parts, tools], sort_keys=True)

        assert hashlib.sha256(whole.encode()).digest() == row.sha256


def test_a_letter_with_a_million_marks_is_left_as_it_is() -> None:
    """To put them in order takes the square of their number."""
    text = "e" + "\u0300\u0316" * 500_000

    assert text is composed(text)
    assert not is_composed(text)
    assert ("\u00e9", True) == (composed("e\u0301"), is_composed("\u00e9"))


def test_the_answer_is_looked_for_in_rows_of_any_length_that_can_be_trained() -> None:
    answer = "It is what it is, and nothing else."

    assert leaks(chat(f"Say: {answer}", answer))
    assert leaks(chat("word " * 20_000 + answer, answer))
    assert not leaks(chat("word " * LEAK_REACH + answer, answer))


def test_no_more_of_a_text_is_kept_than_its_tokens_may_need() -> None:
    turn = Turn("text", "", True)
    room = 16 * ENOUGH
    kept = {
        text: sum(len(part) for part, _ in cut([(text * room, turn), (text * room, turn)], room))
        for text in ("a", "\u00e9", "e\u0301")
    }

    assert {"a": room // 4, "\u00e9": room // 4, "e\u0301": room} == kept
    assert [("a" * ENOUGH, turn)] == cut([("a" * ENOUGH, turn)], room)


ANSWERS = ("It is what it is, as ever.", "It IS\u3000what\n\nit is, as ever.")
PIECES = (*ANSWERS, "\u00c9", "e\u0301", "\u00df", "SS", " ")
TEXTS = st.lists(st.sampled_from(PIECES), max_size=5).map("".join)


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant", "system"]), TEXTS), min_size=1))
def test_an_answer_leaks_when_its_words_stand_in_one_turn_before_it(said: list[tuple[str, str]]) -> None:
    def words(text: str) -> str:
        return " ".join(unicodedata.normalize("NFC", text).casefold().split())

    found = any(
        role == "assistant"
        and len(words(text)) >= LEAK_LENGTH
        and any(words(text) in words(other) for by, other in said[:n] if by != "assistant")
        for n, (role, text) in enumerate(said)
    )
    row = Row(tuple(Turn(role, text, trained=role == "assistant") for role, text in said))

    assert found == leaks(row)
