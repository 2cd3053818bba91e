"""Row formats: one line of JSON becomes turns, or a problem with a code.

Supported: `messages` (OpenAI chat), `prompt`/`completion`, plain `text`. A format is one entry in `MARKS`
(the fields that tell it) and one reader in `READERS`; a marked one without a reader is known, not supported.
"""

import hashlib
import json
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from core.intake.problems import BadRow

Json = dict[str, Any]

# Asked in this order; the first whose fields are all there is the row's format.
MARKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("messages", ("messages",)),
    ("sharegpt", ("conversations",)),
    ("alpaca", ("instruction",)),
    ("preference", ("chosen", "rejected")),
    ("prompt_completion", ("prompt", "completion")),
    ("question_answer", ("question", "answer")),
    ("text", ("text",)),
)
ROLES = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool",
    "function": "tool",
}


@dataclass(frozen=True, slots=True)
class Turn:
    role: str           # system, user, assistant, tool; text for a plain document
    text: str
    trained: bool       # its tokens are training targets
    calls: bool = False     # it calls tools


@dataclass(frozen=True, slots=True)
class Row:
    turns: tuple[Turn, ...]
    tools: tuple[Json, ...] | None = None

    @property
    def is_chat(self) -> bool:
        return self.turns[0].role != "text"

    @property
    def sha256(self) -> bytes:
        """32 bytes that tell rows apart by content: spelling of the JSON and Unicode form do not matter."""
        parts = [[turn.role, unicodedata.normalize("NFC", turn.text), turn.trained] for turn in self.turns]
        canonical = json.dumps([parts, self.tools], ensure_ascii=True, sort_keys=True)
        return hashlib.sha256(canonical.encode()).digest()


def parse(line: bytes) -> Json:
    """The JSON object on a line; raises `BadRow`."""
    try:
        value = json.loads(line.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise BadRow("not_utf8", f"byte {error.start + 1} is not UTF-8: save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadRow("bad_json", f"{error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise BadRow("nesting_too_deep", "brackets are nested too deep to be read") from None
    except BadRow:
        raise
    except ValueError:          # the interpreter's limit on the digits of a whole number
        raise BadRow("json_number", "a number has thousands of digits") from None
    if not isinstance(value, dict):
        hint = "; `evertrain add` converts a JSON array" if isinstance(value, list) else ""
        raise BadRow("not_object", f"a row is an object {{…}}, this line is another JSON value{hint}")
    return value


def recognise(value: Json) -> str | None:
    """The format a row's fields speak of, None if of none."""
    return next((name for name, fields in MARKS if all(field in value for field in fields)), None)


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
        for text in (*(turn.text for turn in row.turns), json.dumps(row.tools, ensure_ascii=False)):
            text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadRow("lone_surrogate", "a \\uXXXX escape is half of a pair, which is no character") from None
    except RecursionError:
        raise BadRow("nesting_too_deep", "tools or arguments are nested too deep to be written") from None
    return row


def _read_messages(value: Json) -> Row:
    return Row(_turns(value["messages"], "messages"), _tools(value.get("tools")))


def _read_pair(value: Json) -> Row:
    prompt, completion = value["prompt"], value["completion"]
    if isinstance(prompt, str) and isinstance(completion, str):
        prompt = [{"role": "user", "content": prompt}]
        completion = [{"role": "assistant", "content": completion}]
    # the other usual shape: two lists of messages, of which only the second is learned
    if not (isinstance(prompt, list) and isinstance(completion, list)):
        raise BadRow("bad_field", "prompt and completion are two texts or two lists of messages")
    context = [dict(message, weight=0) if isinstance(message, dict) else message for message in prompt]
    return Row(_turns([*context, *completion], "prompt and completion"), _tools(value.get("tools")))


def _read_text(value: Json) -> Row:
    text = value["text"]
    if not isinstance(text, str):
        raise BadRow("bad_field", "text is not a string")
    if not text.strip():
        raise BadRow("empty_content", "the text is empty")
    return Row((Turn("text", text, trained=True),))


READERS: dict[str, Callable[[Json], Row]] = {
    "messages": _read_messages,
    "prompt_completion": _read_pair,
    "text": _read_text,
}


def _turns(messages: Any, where: str) -> tuple[Turn, ...]:
    if not isinstance(messages, list):
        raise BadRow("bad_field", f"{where}: not a list")
    turns = tuple(_turn(message, number) for number, message in enumerate(messages, 1))
    if not any(turn.role == "assistant" for turn in turns):
        raise BadRow("no_assistant_turn", f"none of the {len(turns)} messages is by the assistant")
    return turns


def _turn(message: Any, number: int) -> Turn:
    if not isinstance(message, dict):
        raise BadRow("bad_field", f"message {number} is not an object")
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise BadRow("unknown_role", f"message {number}: the role is none of {', '.join(ROLES)}")
    role = ROLES[role]
    weight = message.get("weight", 1)
    if weight is None:
        weight = 1
    if isinstance(weight, bool) or weight not in (0, 1):
        raise BadRow("bad_weight", f"message {number}: weight is 0 (read only) or 1 (trained)")
    text = _text(message.get("content"), number)
    if role == "assistant":
        text = _reasoned(message.get("reasoning_content"), text, number) + _calls(message, bool(text), number)
    if role in ("user", "assistant") and not text.strip():
        raise BadRow("empty_content", f"message {number} ({role}) is empty")
    calls = role == "assistant" and bool(message.get("tool_calls"))
    return Turn(role, text, trained=role == "assistant" and weight == 1, calls=calls)


def _text(content: Any, number: int) -> str:
    """The text of a message: a string, null (usual beside tool calls), or a list of text parts, joined."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRow("bad_field", f"message {number}: content is neither text nor a list of parts")
    texts = [part.get("text") if isinstance(part, dict) else part for part in content]
    spoken = [text for text in texts if isinstance(text, str)]
    if len(spoken) < len(texts):
        raise BadRow("not_text", f"message {number}: a part of the content is not text")
    return "".join(spoken)


def _reasoned(reasoning: Any, text: str, number: int) -> str:
    if reasoning is None or reasoning == "":
        return text
    if not isinstance(reasoning, str):
        raise BadRow("bad_field", f"message {number}: reasoning_content is not text")
    return f"<think>\n{reasoning.strip(chr(10))}\n</think>\n\n{text.lstrip(chr(10))}"


def _calls(message: Json, follows_text: bool, number: int) -> str:
    """The calls as text, one JSON object between tags for each, as Qwen and Hermes models write them."""
    if message.get("function_call"):
        raise BadRow("unsupported_format", f"message {number}: use tool_calls instead of function_call")
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise BadRow("bad_tool", f"message {number}: tool_calls is not a list")
    written = []
    for call in calls:
        function = (call.get("function") or call) if isinstance(call, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(function, dict) or not isinstance(name, str) or "arguments" not in function:
            raise BadRow("bad_tool", f"message {number}: a tool call needs a name and arguments")
        arguments = function["arguments"]
        if not isinstance(arguments, str):
            try:
                arguments = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
            except ValueError:
                raise BadRow("json_number", f"message {number}: a number is too large") from None
        written.append(f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>')
    return ("\n" if follows_text and written else "") + "\n".join(written)


def _tools(tools: Any) -> tuple[Json, ...] | None:
    if isinstance(tools, str) and tools.strip():        # often a list spelled as a string
        try:
            tools = json.loads(tools)
        except (ValueError, RecursionError):
            raise BadRow("bad_tool", "tools is a text, but not JSON") from None
    if not tools:
        return None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise BadRow("bad_tool", "tools is not a list of objects")
    return tuple(tools)


def _fields(name: str) -> str:
    return " and ".join(dict(MARKS).get(name, ("messages",)))


def _refuse_constant(name: str) -> NoReturn:
    raise BadRow("json_number", f"{name} is not JSON")
