import json
from typing import Any

import pytest

from core.intake.formats import Turn, parse, read, recognise
from core.intake.problems import ROW_CODES, BadRow

USER = {"role": "user", "content": "a"}
ASSISTANT = {"role": "assistant", "content": "b"}


def code_of(line: bytes | dict[str, Any], expected: str = "messages") -> str:
    with pytest.raises(BadRow) as caught:
        read(parse(line if isinstance(line, bytes) else json.dumps(line).encode()), expected)
    assert caught.value.code in ROW_CODES
    return caught.value.code


def test_all_three_formats_become_turns() -> None:
    chat = read({"messages": [{"role": "system", "content": "s"}, USER, ASSISTANT]}, "messages")
    pair = read({"prompt": "a", "completion": "b"}, "prompt_completion")
    text = read({"text": "abc"}, "text")

    answer = Turn("assistant", "b", True)
    assert (Turn("system", "s", False), Turn("user", "a", False), answer) == chat.turns
    assert (Turn("user", "a", False), answer) == pair.turns
    assert (Turn("text", "abc", True),) == text.turns


def test_a_weight_of_zero_makes_an_answer_context() -> None:
    row = read({"messages": [USER, {**ASSISTANT, "weight": 0}, USER, {**ASSISTANT, "weight": 1}]}, "messages")

    assert [False, False, False, True] == [turn.trained for turn in row.turns]


def test_prompts_and_completions_of_messages_train_the_completion_alone() -> None:
    row = read({"prompt": [USER, ASSISTANT, USER], "completion": [ASSISTANT]}, "prompt_completion")

    assert [False, False, False, True] == [turn.trained for turn in row.turns]


def test_parts_of_text_are_joined_and_null_beside_a_call_is_empty() -> None:
    parts = {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "text", "text": "y"}]}
    function = {"name": "f", "arguments": {}}
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": function}]}
    row = read({"messages": [parts, call]}, "messages")

    assert "xy" == row.turns[0].text
    assert '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>' == row.turns[1].text


@pytest.mark.parametrize(("expected", "line"), [
    ("bad_json", b'{"messages": ['),
    ("bad_json", b"[1"),
    ("not_object", b"[1, 2]"),
    ("not_object", b'"text"'),
    ("not_utf8", b'{"text": "\xff"}'),
    ("nesting_too_deep", b"[" * 100_000),
    ("json_number", b'{"text": NaN}'),
    ("json_number", b'{"text": ' + b"9" * 5000 + b"}"),
    ("lone_surrogate", b'{"messages": [{"role": "assistant", "content": "\\ud800"}]}'),
    ("missing_field", {"mesages": []}),
    ("other_format", {"text": "a"}),
    ("bad_field", {"messages": "a"}),
    ("bad_field", {"messages": ["a"]}),
    ("bad_field", {"messages": [{"role": "user", "content": 3}, ASSISTANT]}),
    ("unknown_role", {"messages": [{"role": "gpt", "content": "a"}]}),
    ("unknown_role", {"messages": [{"role": ["user"], "content": "a"}]}),
    ("bad_weight", {"messages": [USER, {**ASSISTANT, "weight": 0.5}]}),
    ("bad_weight", {"messages": [USER, {**ASSISTANT, "weight": True}]}),
    ("not_text", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}, ASSISTANT]}),
    ("bad_tool", {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [{}]}]}),
    ("bad_tool", {"messages": [USER, ASSISTANT], "tools": "not JSON"}),
    (
        "json_number",
        b'{"messages": [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": 1e999}]}]}',
    ),
    ("unsupported_format", {"messages": [USER, {"role": "assistant", "function_call": {"name": "f"}}]}),
    ("empty_content", {"messages": [USER, {"role": "assistant", "content": None}]}),
    ("empty_content", {"messages": [{"role": "user", "content": " "}, ASSISTANT]}),
    ("no_assistant_turn", {"messages": [USER]}),
    ("no_assistant_turn", {"messages": []}),
])
def test_a_bad_row_is_told_by_its_code(expected: str, line: bytes | dict[str, Any]) -> None:
    assert expected == code_of(line)


def test_messages_about_a_row_never_quote_it() -> None:
    secret = "hunter2"
    for row in ({"messages": [{"role": secret, "content": secret}]}, {secret: secret}, {"text": secret}):
        with pytest.raises(BadRow) as caught:
            read(row, "messages")

        assert secret not in str(caught.value)


def test_formats_of_later_are_known_by_name() -> None:
    assert "sharegpt" == recognise({"conversations": []})
    assert "alpaca" == recognise({"instruction": "", "output": ""})
    assert "question_answer" == recognise({"question": "", "answer": ""})
    assert recognise({"prompt": ""}) is None


def test_the_hash_of_a_row_is_of_its_content_not_of_its_spelling() -> None:
    composed = parse('{"text": "é"}'.encode())
    decomposed = parse(b'{ "other": 1, "text": "e\\u0301"}')

    assert read(composed, "text").sha256 == read(decomposed, "text").sha256
    assert read(composed, "text").sha256 != read({"text": "e"}, "text").sha256
