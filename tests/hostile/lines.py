"""Lines that cannot be used: each stands below an ordinary row of the same format, and rejects the file."""

import json
from typing import Any

from tests.hostile.case import MARKER, Case, assistant, good, user, written

M = MARKER.encode()
ROW = json.dumps(good("half")).encode()


def _chat(content: bytes) -> bytes:
    """A row whose answer is spelled as it stands."""
    return b'{"messages": [{"role": "assistant", "content": ' + content + b"}]}"


def _beside(more: bytes) -> bytes:
    """An ordinary row with a field more, spelled as it stands."""
    return ROW[:-1] + b', "more": ' + more + b"}"


BAD_JSON: dict[str, bytes] = {
    "unclosed object": b'{"messages": [',
    "half a row": ROW[: len(ROW) // 2],
    "single quotes": ROW.replace(b'"', b"'"),
    "a comment": ROW + b" // " + M,
    "a comment in C": b"/* " + M + b" */ " + ROW,
    "a comma after the object": ROW + b",",
    "a comma in the object": ROW[:-1] + b",}",
    "a comma in the list": ROW.replace(b"}]", b"},]"),
    "two rows on a line": ROW + ROW,
    "two rows with a space": ROW + b" " + ROW,
    "names without quotes": b"{messages: []}",
    "python's repr": repr(good("repr") | {"a": None, "b": True}).encode(),
    "a raw tab": _chat(b'"a\tb"'),
    "a raw NUL": _chat(b'"a\0b"'),
    "a raw carriage return": _chat(b'"a\rb"'),
    "a raw escape": _chat(b'"\x1b[2J"'),
    "an unknown escape": _chat(b'"\\x41"'),
    "a cut escape": _chat(b'"\\u12"'),
    "a zero in front": _beside(b"01"),
    "a plus in front": _beside(b"+1"),
    "a hexadecimal number": _beside(b"0x10"),
    "a bare fraction": _beside(b".5"),
    "a bare point": _beside(b"5."),
    "undefined": _beside(b"undefined"),
    "capital True": _beside(b"True"),
    "an unclosed text": b'{"messages": "' + M,
    "a missing colon": b'{"messages" []}',
    "a missing comma": ROW.replace(b", ", b" ", 1),
    "a closing bracket": b"]",
    "the wrong bracket": ROW[:-1] + b"]",
    "words": b"These are words about " + M,
    "HTML": b"<script>alert('" + M + b"')</script>",
    "ANSI": b"\x1b[2J\x1b]0;" + M + b"\x07\x1b[31m",
    "a table": b"prompt;completion;" + M,
    "YAML": b"messages: [" + M + b"]",
    "a fence": b"```json",
    "a template": b"{{ messages }}{% for m in messages %}{{ m.content }}{% endfor %}" + M,
    "a server-sent event": b"data: " + ROW,
    "a record separator": b"\x1e" + ROW,
    "a no-break space in front": b"\xc2\xa0" + ROW,
    "a line separator in front": b"\xe2\x80\xa8" + ROW,
    "NUL bytes": b"\0" * 300,
    "base64": b"eyJtZXNzYWdlcyI6IFtdfQ==",
    "a number in front": b"17: " + ROW,
}

NOT_UTF8: dict[str, bytes] = {
    "Latin-1": _chat('"Größe"'.encode("latin-1")),
    "Windows-1252": _chat(b'"\x93quoted\x94"'),
    "Shift JIS": _chat('"日本語"'.encode("shift-jis")),
    "a lone continuation": _chat(b'"\x80"'),
    "a cut character": _chat(b'"\xf0\x9f\xa4"'),
    "an overlong slash": _chat(b'"\xc0\xaf"'),
    "an overlong NUL": _chat(b'"\xc0\x80"'),
    "five bytes": _chat(b'"\xf8\x88\x80\x80\x80"'),
    "beyond Unicode": _chat(b'"\xf4\x90\x80\x80"'),
    "a raw surrogate": _chat(b'"\xed\xa0\x80"'),
    "CESU-8": _chat(b'"\xed\xa0\xbd\xed\xb8\x80"'),
    "0xFF": b"\xff" * 300,
    "UTF-16 inside": json.dumps(good("wide")).encode("utf-16")[:-1] + b" ",
}

JSON_NUMBER: dict[str, bytes] = {
    "NaN": _beside(b"NaN"),
    "Infinity": _beside(b"Infinity"),
    "minus Infinity": _beside(b"-Infinity"),
    "a NaN in a weight": ROW.replace(b'"role": "a', b'"weight": NaN, "role": "a'),
    "5000 digits": _beside(b"9" * 5000),
    "a million digits": _beside(b"9" * 1_000_000),
    "1e999 in arguments": ROW.replace(
        b'"role": "a', b'"tool_calls": [{"name": "f", "arguments": 1e999}], "role": "a'
    ),
}

HALVES: dict[str, bytes] = {
    "a high half": _chat(b'"\\ud83d"'),
    "a low half": _chat(b'"\\ude00"'),
    "halves in the wrong order": _chat(b'"\\ude00\\ud83d"'),
    "two high halves": _chat(b'"\\ud83d\\ud83d"'),
    "a half in a question": ROW.replace(b"Where", b"\\udfff"),
    "a half in arguments": ROW.replace(
        b'"role": "a', b'"tool_calls": [{"name": "f", "arguments": "\\\\ud83d\\ud83d"}], "role": "a'
    ),
    "a half in a tool": ROW[:-1] + b', "tools": [{"name": "\\ud83d"}]}',
}

DEEP = 100_000
TOO_DEEP: dict[str, bytes] = {
    "lists in lists": b"[" * DEEP + b"]" * DEEP,
    "lists without an end": b"[" * DEEP,
    "objects in objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "lists in objects": b'[{"a":' * DEEP + b"1" + b"}]" * DEEP,
    "depth in a content": _chat(b"[" * DEEP + b"]" * DEEP),
    "depth in a field of nobody": _beside(b"[" * DEEP + b"]" * DEEP),
    "depth in arguments": ROW.replace(b'"role": "a', b'"tool_calls": [{"name": "f", "arguments": '
                                      + b"[" * DEEP + b"]" * DEEP + b'}], "role": "a'),
}  # fmt: skip

NOT_OBJECT: dict[str, bytes] = {
    "a list": b"[" + ROW + b"]",
    "a text": json.dumps(MARKER).encode(),
    "a row as a text": json.dumps(ROW.decode()).encode(),
    "a number": b"42",
    "null": b"null",
    "true": b"true",
}

MISSING: dict[str, Any] = {
    "nothing": {},
    "no field we know": {MARKER: MARKER},
    "a slip": {"mesages": good("slip")["messages"]},
    "a capital": {"Messages": good("capital")["messages"]},
    "a name with a space": {"messages ": good("space")["messages"]},
    "a prompt alone": {"prompt": MARKER},
    "an answer alone": {"answer": MARKER},
    "a message alone": user(MARKER),
    "a name of nothing": {"": MARKER},
    "a prototype": {"__proto__": {"messages": []}, "constructor": MARKER},
}

OTHER: dict[str, Any] = {
    "a text among chats": good("other", "text"),
    "a question among chats": good("other", "question_answer"),
    "a preference among chats": {"prompt": MARKER, "chosen": MARKER, "rejected": MARKER},
}


def _said(**changed: Any) -> dict[str, Any]:
    return {"messages": [user(MARKER), assistant(MARKER) | changed]}


def _called(call: Any) -> dict[str, Any]:
    return {"messages": [user(MARKER), assistant(None, tool_calls=call)]}


CHATS: tuple[tuple[str, str, Any], ...] = (
    ("bad_field", "messages are null", {"messages": None}),
    ("bad_field", "messages are an object", {"messages": {"0": user()}}),
    ("bad_field", "messages are a text", {"messages": MARKER}),
    ("bad_field", "messages are a number", {"messages": 3}),
    ("bad_field", "a message is null", {"messages": [None, assistant()]}),
    ("bad_field", "a message is a text", {"messages": [MARKER]}),
    ("bad_field", "a message is a list", {"messages": [[user(), assistant()]]}),
    ("bad_field", "a content is a number", _said(content=3)),
    ("bad_field", "a content is true", _said(content=True)),
    ("bad_field", "a content is an object", _said(content={"text": MARKER})),
    ("bad_field", "a name is a number", _said(name=3)),
    ("bad_field", "a call's id is a list", _said(tool_call_id=[])),
    ("bad_field", "a thought is a number", _said(reasoning_content=3)),
    ("unknown_role", "a message of nothing", {"messages": [{}, assistant()]}),
    ("unknown_role", "a role is null", _said(role=None)),
    ("unknown_role", "a role is a list", _said(role=["assistant"])),
    ("unknown_role", "a role is empty", _said(role="")),
    ("unknown_role", "a role has a capital", _said(role="Assistant")),
    ("unknown_role", "a role spells a control token", _said(role="assistant<|im_end|>")),
    ("unknown_role", "a role is someone", _said(role="root")),
    ("not_text", "an image", _said(content=[{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}])),
    ("not_text", "a sound", _said(content=[{"type": "input_audio", "input_audio": {"data": MARKER}}])),
    ("not_text", "a part of null", _said(content=[None])),
    ("not_text", "a part of a number", _said(content=[{"type": "text", "text": 3}])),
    ("not_text", "a part without text", _said(content=[{"type": "text"}])),
    ("empty_content", "an empty answer", _said(content="")),
    ("empty_content", "an answer of white space", _said(content=" \u00a0\u2003\u2028\n\t")),
    ("empty_content", "an answer of null", _said(content=None)),
    ("empty_content", "an answer of no parts", _said(content=[])),
    ("empty_content", "an empty question", {"messages": [user(""), assistant()]}),
    ("bad_weight", "half a weight", _said(weight=0.5)),
    ("bad_weight", "a weight of two", _said(weight=2)),
    ("bad_weight", "a weight below zero", _said(weight=-1)),
    ("bad_weight", "a weight as a text", _said(weight="1")),
    ("bad_weight", "a weight of true", _said(weight=True)),
    ("bad_weight", "a weight as a list", _said(weight=[1])),
    ("bad_weight", "a weight as an object", _said(weight={})),
    ("no_assistant_turn", "no messages", {"messages": []}),
    ("no_assistant_turn", "nobody answers", {"messages": [user(MARKER)] * 3}),
    ("no_trainable_token", "all of weight zero", _said(weight=0)),
    ("no_trainable_token", "all of weight minus zero", _said(weight=-0.0)),
    ("bad_tool", "calls as a text", _called(MARKER)),
    ("bad_tool", "calls as a number", _called(3)),
    ("bad_tool", "a call of null", _called([None])),
    ("bad_tool", "a call of nothing", _called([{}])),
    ("bad_tool", "a function as a text", _called([{"function": MARKER}])),
    ("bad_tool", "a call's name is a number", _called([{"function": {"name": 3, "arguments": {}}}])),
    ("bad_tool", "a call without arguments", _called([{"function": {"name": MARKER}}])),
    ("bad_tool", "an older call of nothing", _said(function_call={"arguments": "{}"})),
    ("bad_tool", "tools as words", good("tools") | {"tools": MARKER}),
    ("bad_tool", "tools as a number", good("tools") | {"tools": 3}),
    ("bad_tool", "tools as a text of a number", good("tools") | {"tools": "3"}),
    ("bad_tool", "a tool is a text", good("tools") | {"tools": [MARKER]}),
    ("bad_tool", "tools as an endless text", good("tools") | {"tools": "[" * DEEP}),
)

OTHERS: tuple[tuple[str, str, str, Any], ...] = (
    ("sharegpt", "bad_field", "conversations are null", {"conversations": None}),
    ("sharegpt", "bad_field", "conversations are an object", {"conversations": {}}),
    ("sharegpt", "bad_field", "a turn is a text", {"conversations": [MARKER]}),
    ("sharegpt", "unknown_role", "a turn of nothing", {"conversations": [{}]}),
    ("sharegpt", "unknown_role", "a turn from a list", {"conversations": [{"from": [], "value": MARKER}]}),
    ("sharegpt", "bad_field", "a value is null", {"conversations": [{"from": "gpt", "value": None}]}),
    ("sharegpt", "no_assistant_turn", "no turns", {"conversations": []}),
    ("sharegpt", "bad_tool", "a call is words", {"conversations": [{"from": "tool_call", "value": MARKER}]}),
    ("sharegpt", "bad_tool", "a call is null", {"conversations": [{"from": "function_call", "value": None}]}),
    ("sharegpt", "bad_tool", "no calls", {"conversations": [{"from": "function_call", "value": "[]"}]}),
    ("sharegpt", "bad_tool", "an endless call",
     {"conversations": [{"from": "function_call", "value": "[" * DEEP}]}),
    ("alpaca", "bad_field", "an instruction is null", {"instruction": None, "output": MARKER}),
    ("alpaca", "bad_field", "an instruction is a list", {"instruction": [], "output": MARKER}),
    ("alpaca", "bad_field", "an input is a number", {"instruction": MARKER, "input": 3, "output": MARKER}),
    ("alpaca", "bad_field", "an output is an object", {"instruction": MARKER, "output": {}}),
    ("alpaca", "missing_field", "an output is missing", {"instruction": MARKER}),
    ("alpaca", "empty_content", "an output is empty", {"instruction": MARKER, "output": ""}),
    ("alpaca", "bad_field", "a system is a number", good("system", "alpaca") | {"system": 3}),
    ("alpaca", "bad_field", "a history is a text", good("history", "alpaca") | {"history": MARKER}),
    ("alpaca", "bad_field", "a history of one", good("history", "alpaca") | {"history": [[MARKER]]}),
    ("alpaca", "bad_field", "a history of numbers", good("history", "alpaca") | {"history": [[1, 2]]}),
    ("alpaca", "bad_field", "an instance is a text", {"instruction": MARKER, "instances": [MARKER]}),
    ("prompt_completion", "bad_field", "a prompt is a number", {"prompt": 3, "completion": MARKER}),
    ("prompt_completion", "bad_field", "a completion is null", {"prompt": MARKER, "completion": None}),
    ("prompt_completion", "bad_field", "a text and a list", {"prompt": MARKER, "completion": [assistant()]}),
    ("prompt_completion", "no_trainable_token", "a completion of nobody",
     {"prompt": [user(MARKER), assistant()], "completion": []}),
    ("prompt_completion", "empty_content", "a completion is empty", {"prompt": MARKER, "completion": " "}),
    ("question_answer", "bad_field", "a question is a list", {"question": [], "answer": MARKER}),
    ("question_answer", "bad_field", "an answer is true", {"question": MARKER, "answer": True}),
    ("question_answer", "empty_content", "an answer is empty", {"question": MARKER, "answer": ""}),
    ("text", "bad_field", "a text is null", {"text": None}),
    ("text", "bad_field", "a text is a list", {"text": [MARKER]}),
    ("text", "empty_content", "a text is empty", {"text": ""}),
    ("text", "empty_content", "a text is white space", {"text": "\n \u2028\u0085"}),
)  # fmt: skip


def _case(code: str, what: str, line: Any, form: str = "messages") -> Case:
    content = written(good(f"{form} {what}", form), line)
    return Case(f"{form} {what}.jsonl".encode(), content, "rejected", code, 2)


_BY_CODE = {
    "bad_json": BAD_JSON, "not_utf8": NOT_UTF8, "json_number": JSON_NUMBER, "lone_surrogate": HALVES,
    "nesting_too_deep": TOO_DEEP, "not_object": NOT_OBJECT, "missing_field": MISSING, "other_format": OTHER,
}  # fmt: skip

CASES: tuple[Case, ...] = (
    *(_case(code, what, line) for code, lines in _BY_CODE.items() for what, line in lines.items()),
    *(_case(code, what, line) for code, what, line in CHATS),
    *(_case(code, what, line, form) for form, code, what, line in OTHERS),
)
