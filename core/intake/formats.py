"""Row formats: one line of JSON becomes turns, or a problem with a code.

A format is one entry in `MARKS` (the fields that tell it) and one reader in `READERS`; a marked one without
a reader is known, not supported. Unknown fields are left alone: they are the row's own business.
"""

import json
import re
from collections.abc import Callable
from typing import Any, NoReturn

import msgspec
from msgspec.structs import replace

from core.intake.messages import answered, calls_of, spoken, tools_of, turns_of
from core.intake.problems import BadRow
from core.intake.rows import Json, Row, Turn

# Asked in this order; the first whose fields are all there is the row's format.
MARKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("messages", ("messages",)),
    ("sharegpt", ("conversations",)),
    ("preference", ("chosen", "rejected")),
    ("alpaca", ("instruction",)),
    ("prompt_completion", ("prompt", "completion")),
    ("question_answer", ("question", "answer")),
    ("text", ("text",)),
)

# Who speaks in a ShareGPT turn; `function_call` is an assistant's turn that holds nothing but a call.
SPEAKERS = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "chatgpt": "assistant",
    "bot": "assistant", "model": "assistant", "system": "system", "function_call": "assistant",
    "tool_call": "assistant", "observation": "tool", "tool": "tool", "function_response": "tool",
    "tool_response": "tool",
}
CALLING = ("function_call", "tool_call")

# Half of a surrogate pair; looked for in place, since a row may be as long as memory allows.
HALF = re.compile("[\ud800-\udfff]")

# A line may cost many times its length once it is read: `[],` takes 72 bytes of memory, a name over 150.
LONG, VALUES = 4_000_000, 1_000_000
HUGE = 64 << 20

_decode = msgspec.json.Decoder().decode


def parse(line: bytes | bytearray) -> Json:
    """The JSON object on a line; raises `BadRow`."""
    if len(line) > LONG and sum([line.count(mark) for mark in (b",", b"[", b"{")]) > VALUES:
        raise BadRow("too_many_values", f"the line has more than {VALUES:,} commas and brackets")
    try:
        value = _decode(line)
    except (ValueError, RecursionError) as error:
        if len(line) > HUGE:                    # telling more takes three times its memory
            code = "not_utf8" if isinstance(error, UnicodeDecodeError) else "bad_json"
            raise BadRow(code, str(error)) from None
        value = _parse_slowly(line)             # refused, or only unusual: the slower reader tells
    if not isinstance(value, dict):
        hint = "; `evertrain add` converts a JSON array" if isinstance(value, list) else ""
        raise BadRow("not_object", f"a row is an object {{…}}, this line is another JSON value{hint}")
    return value


def _parse_slowly(line: bytes | bytearray) -> Any:
    try:
        return json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise BadRow("not_utf8", f"byte {error.start + 1} is not UTF-8: save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        if 5 * abs(line[::2].count(b"\0") - line[1::2].count(b"\0")) > len(line):
            raise BadRow("not_utf8", "NUL bytes as UTF-16 has them: save the file as UTF-8") from None
        raise BadRow("bad_json", f"{error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise BadRow("nesting_too_deep", "brackets are nested too deep to be read") from None
    except BadRow:
        raise
    except ValueError:          # the interpreter's limit on the digits of a whole number
        raise BadRow("json_number", "a number has thousands of digits") from None


def recognise(value: Json) -> str | None:
    """The format a row's fields speak of, None if of none."""
    for name, fields in MARKS:
        if fields[0] in value and (len(fields) == 1 or fields[1] in value):
            return name
    return None


def expand(value: Json) -> list[Json]:
    """The rows of a line: one, or one for each of an Alpaca line's `instances`."""
    instances = value.get("instances")
    if not isinstance(instances, list) or not instances or recognise(value) != "alpaca":
        return [value]
    shared = {key: value[key] for key in ("instruction", "system", "history") if key in value}
    return [shared | (one if isinstance(one, dict) else {"output": None}) for one in instances]


def read(value: Json, expected: str) -> Row:
    """The row in the one internal form; `expected` is the file's format. Raises `BadRow`."""
    found = recognise(value)
    if found is None:
        raise BadRow("missing_field", f"no field tells the format; {expected} rows have {_fields(expected)}")
    if found != expected:
        raise BadRow("other_format", f"a {found} row in a file of {expected} rows")
    if found not in READERS:
        raise BadRow("unsupported_format", f"{found} rows are not supported: use {', '.join(READERS)}")
    try:
        row = READERS[found](value)
        declared = json.dumps(row.tools, ensure_ascii=False) if row.tools else ""
    except RecursionError:
        raise BadRow("nesting_too_deep", "tools or arguments are nested too deep to be written") from None
    if any([not text.isascii() and HALF.search(text) for text in (declared, *[t.text for t in row.turns])]):
        raise BadRow("lone_surrogate", "a \\uXXXX escape is half of a pair, which is no character")
    return row


def _read_messages(value: Json) -> Row:
    return Row(turns_of(value["messages"], "messages"), tools_of(value.get("tools")))


def _read_sharegpt(value: Json) -> Row:
    conversation = value["conversations"]
    if not isinstance(conversation, list):
        raise BadRow("bad_field", "conversations: not a list")
    turns = [_said(message, number) for number, message in enumerate(conversation, 1)]
    return Row(answered((*_system(value, turns), *turns)), tools_of(value.get("tools")))


def _said(message: Any, number: int) -> Turn:
    if not isinstance(message, dict):
        raise BadRow("bad_field", f"message {number} is not an object")
    speaker = message.get("from", message.get("role"))
    if not isinstance(speaker, str) or speaker not in SPEAKERS:
        raise BadRow("unknown_role", f"message {number}: it is from none of {', '.join(SPEAKERS)}")
    role = SPEAKERS[speaker]
    text = message.get("value", message.get("content"))
    if speaker in CALLING:
        return spoken(role, "", number, message.get("weight"), _called(text, number))
    if not isinstance(text, str):
        raise BadRow("bad_field", f"message {number}: value is not text")
    return spoken(role, text, number, message.get("weight"))


def _called(value: Any, number: int) -> Any:
    """A call, or several, as JSON in a text or as it stands."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise BadRow("bad_tool", f"message {number}: the call is not JSON") from None
    calls = calls_of(value if isinstance(value, list) else [value], number)
    if not calls:
        raise BadRow("bad_tool", f"message {number}: the call names no tool")
    return calls


def _read_alpaca(value: Json) -> Row:
    turns: list[Turn] = []
    history = value.get("history") or []
    if not isinstance(history, list):
        raise BadRow("bad_field", "history is not a list of [question, answer]")
    for pair in history:
        if not isinstance(pair, list) or len(pair) != 2:
            raise BadRow("bad_field", "history is not a list of [question, answer]")
        turns += _exchange(pair[0], pair[1], len(turns), ("history", "history"))
    if "output" not in value:
        raise BadRow("missing_field", "an alpaca row has an output beside its instruction")
    asked, given = value["instruction"], value.get("input")
    if given is not None and not isinstance(given, str):
        raise BadRow("bad_field", "input is not text")
    if given and given.strip() and isinstance(asked, str):      # an empty input leaves no blank lines behind
        asked = f"{asked}\n\n{given}" if asked.strip() else given
    turns += _exchange(asked, value["output"], len(turns), ("instruction", "output"))
    return Row((*_system(value, turns), *turns))


def _read_question(value: Json) -> Row:
    turns = _exchange(value["question"], value["answer"], 0, ("question", "answer"))
    return Row((*_system(value, turns), *turns))


def _exchange(question: Any, answer: Any, before: int, names: tuple[str, str]) -> list[Turn]:
    for text, name in zip((question, answer), names, strict=True):
        if not isinstance(text, str):
            raise BadRow("bad_field", f"{name} is not text")
    return [spoken("user", question, before + 1), spoken("assistant", answer, before + 2)]


def _system(value: Json, turns: list[Turn]) -> list[Turn]:
    """The system prompt that stands beside the turns instead of among them."""
    text = value.get("system")
    if text is None or text == "" or (turns and turns[0].role == "system"):
        return []
    if not isinstance(text, str):
        raise BadRow("bad_field", "system is not text")
    return [spoken("system", text, 0)]


def _read_pair(value: Json) -> Row:
    prompt, completion = value["prompt"], value["completion"]
    if isinstance(prompt, str) and isinstance(completion, str):
        turns = _exchange(prompt, completion, 0, ("prompt", "completion"))
        return Row((*_system(value, turns), *turns))
    # the other usual shape: two lists of messages, of which only the second is learned
    if not (isinstance(prompt, list) and isinstance(completion, list)):
        raise BadRow("bad_field", "prompt and completion are two texts or two lists of messages")
    turns = list(turns_of([*prompt, *completion], "prompt and completion"))
    context = [replace(turn, trained=False) for turn in turns[: len(prompt)]]
    return Row((*context, *turns[len(prompt) :]), tools_of(value.get("tools")))


def _read_text(value: Json) -> Row:
    text = value["text"]
    if not isinstance(text, str):
        raise BadRow("bad_field", "text is not a string")
    if not text or text.isspace():
        raise BadRow("empty_content", "the text is empty")
    return Row((Turn("text", text, trained=True),))


READERS: dict[str, Callable[[Json], Row]] = {
    "messages": _read_messages,
    "sharegpt": _read_sharegpt,
    "alpaca": _read_alpaca,
    "prompt_completion": _read_pair,
    "question_answer": _read_question,
    "text": _read_text,
}


def _fields(name: str) -> str:
    return " and ".join(dict(MARKS).get(name, ("messages",)))


def _refuse_constant(name: str) -> NoReturn:
    raise BadRow("json_number", f"{name} is not JSON")
