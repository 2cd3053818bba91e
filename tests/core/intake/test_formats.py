import json
from typing import Any

import pytest

from core.intake.formats import VALUES, expand, parse, read, recognise
from core.intake.problems import ROW_CODES, BadRow
from core.intake.rows import Turn

USER = {"role": "user", "content": "a"}
ASSISTANT = {"role": "assistant", "content": "b"}


def code_of(line: bytes | dict[str, Any], expected: str = "messages") -> str:
    with pytest.raises(BadRow) as caught:
        read(parse(line if isinstance(line, bytes) else json.dumps(line).encode()), expected)
    assert caught.value.code in ROW_CODES
    return caught.value.code


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"tool_calls": [{"function": {"name": "f", "arguments": {}}}]}, '"name": "f"'),
        ({"function_call": {"name": "f", "arguments": "{}"}}, '"name": "f"'),
        ({"reasoning_content": "hm"}, "<think>\nhm\n</think>"),
    ],
)
def test_an_answer_without_content_is_what_its_other_field_says(message: dict[str, Any], text: str) -> None:
    row = read({"messages": [USER, {"role": "assistant"} | message]}, "messages")

    assert text in row.turns[1].text


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
    ("not_utf8", '{"text": "a"}'.encode("utf-16-be")),
    ("too_many_values", b'{"text": [' + b"[]," * (2 * VALUES) + b"[]]}"),
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
    ("bad_tool", {"messages": [USER, {"role": "assistant", "function_call": {"name": "f"}}]}),
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


def test_a_format_is_told_by_its_fields() -> None:
    assert "sharegpt" == recognise({"conversations": []})
    assert "alpaca" == recognise({"instruction": "", "output": ""})
    assert "question_answer" == recognise({"question": "", "answer": ""})
    assert "preference" == recognise({"prompt": "", "chosen": "", "rejected": ""})
    assert recognise({"prompt": ""}) is None


ASKED, ANSWERED = Turn("user", "a", False), Turn("assistant", "b", True)
SAID = Turn("system", "s", False)


@pytest.mark.parametrize(("expected", "value"), [
    ((ASKED, ANSWERED), {"question": "a", "answer": "b"}),
    ((SAID, ASKED, ANSWERED), {"question": "a", "answer": "b", "system": "s", "difficulty": 3}),
    ((ASKED, ANSWERED), {"instruction": "a", "input": "", "output": "b"}),
    ((ASKED, ANSWERED), {"instruction": "a", "input": None, "output": "b", "system": ""}),
    ((Turn("user", "a\n\nwith", False), ANSWERED), {"instruction": "a", "input": "with", "output": "b"}),
    (
        (SAID, Turn("user", "c", False), Turn("assistant", "d", True), ASKED, ANSWERED),
        {"instruction": "a", "output": "b", "system": "s", "history": [["c", "d"]]},
    ),
    (
        (SAID, ASKED, ANSWERED),
        {"conversations": [
            {"from": "system", "value": "s"}, {"from": "human", "value": "a"}, {"from": "gpt", "value": "b"},
        ], "system": "not this one"},
    ),
    (
        (SAID, ASKED, Turn("assistant", "b", False), ASKED, ANSWERED),
        {"system": "s", "conversations": [
            {"from": "user", "value": "a"}, {"from": "chatgpt", "value": "b", "weight": 0},
            {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        ]},
    ),
    ((SAID, ASKED, ANSWERED), {"prompt": "a", "completion": "b", "system": "s"}),
])
def test_every_format_becomes_the_same_turns(expected: tuple[Turn, ...], value: dict[str, Any]) -> None:
    assert expected == read(value, recognise(value) or "").turns


def test_a_call_in_sharegpt_is_the_call_of_messages() -> None:
    tools = [{"name": "f", "description": "", "parameters": {}}]
    told = read({"tools": json.dumps(tools), "conversations": [
        {"from": "human", "value": "a"},
        {"from": "function_call", "value": '{"name": "f", "arguments": {"x": [1, "é"]}}'},
        {"from": "observation", "value": "3"}, {"from": "gpt", "value": "b"},
    ]}, "sharegpt")
    call = {"role": "assistant", "content": None, "tool_calls": [
        {"type": "function", "function": {"name": "f", "arguments": {"x": [1, "é"]}}}]}
    said = read({"tools": tools, "messages": [
        USER, call, {"role": "tool", "content": "3"}, ASSISTANT,
    ]}, "messages")

    assert said == told
    assert said.sha256 == told.sha256
    written = '<tool_call>\n{"name": "f", "arguments": {"x": [1, "é"]}}\n</tool_call>'
    assert (written, True, "f") == (told.turns[1].text, told.turns[1].trained, told.turns[1].calls[0].name)


def test_the_older_function_call_is_a_call_too() -> None:
    function = {"name": "f", "arguments": "{}"}
    older = {"role": "assistant", "content": None, "function_call": function}
    newer = {"role": "assistant", "content": None, "tool_calls": [{"function": function}]}
    rows = [
        read({"messages": [USER, one, {"role": role, "name": "f", "content": "1"}, ASSISTANT]}, "messages")
        for one, role in ((older, "function"), (newer, "tool"))
    ]

    assert rows[0] == rows[1]


def test_instances_are_a_row_each() -> None:
    line = {"id": 1, "instruction": "a", "system": "s", "instances": [
        {"input": "x", "output": "b"}, {"input": "", "output": "c"}, "odd",
    ]}
    rows = expand(line)

    assert [("a\n\nx", "b"), ("a", "c")] == [
        tuple(turn.text for turn in read(row, "alpaca").turns[1:]) for row in rows[:2]
    ]
    assert "bad_field" == code_of(rows[2], "alpaca")
    assert [{"text": "a", "instances": [1]}] == expand({"text": "a", "instances": [1]})


@pytest.mark.parametrize(("expected", "name", "value"), [
    ("missing_field", "alpaca", {"instruction": "a", "input": "b"}),
    ("bad_field", "alpaca", {"instruction": ["a"], "output": "b"}),
    ("bad_field", "alpaca", {"instruction": "a", "output": "b", "history": [["only one"]]}),
    ("bad_field", "alpaca", {"instruction": "a", "output": "b", "input": 3}),
    ("empty_content", "alpaca", {"instruction": "a", "output": " "}),
    ("bad_field", "question_answer", {"question": 1, "answer": "b"}),
    ("empty_content", "question_answer", {"question": "a", "answer": ""}),
    ("bad_field", "sharegpt", {"conversations": {}}),
    ("bad_field", "sharegpt", {"conversations": [{"from": "human", "value": None}]}),
    ("unknown_role", "sharegpt", {"conversations": [{"from": "ghost", "value": "a"}]}),
    ("bad_tool", "sharegpt", {"conversations": [{"from": "function_call", "value": "f(1)"}]}),
    ("bad_tool", "sharegpt", {"conversations": [{"from": "function_call", "value": "[]"}]}),
    ("no_assistant_turn", "sharegpt", {"conversations": [{"from": "human", "value": "a"}]}),
    ("unsupported_format", "preference", {"chosen": "a", "rejected": "b"}),
])
def test_a_bad_row_of_another_format_is_told_by_its_code(
    expected: str, name: str, value: dict[str, Any]
) -> None:
    assert expected == code_of(value, name)


def test_the_hash_of_a_row_is_of_its_content_not_of_its_spelling() -> None:
    composed = parse('{"text": "é"}'.encode())
    decomposed = parse(b'{ "other": 1, "text": "e\\u0301"}')

    assert read(composed, "text").sha256 == read(decomposed, "text").sha256
    assert read(composed, "text").sha256 != read({"text": "e"}, "text").sha256
