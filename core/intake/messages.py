"""OpenAI messages become turns: roles, weights, parts of text, tool calls and their results."""

import json
from collections.abc import Iterable
from typing import Any

from core.intake.problems import BadRow
from core.intake.rows import Call, Json, Row, Turn

PLAIN = {"role", "content"}
ROLES = {
    "system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool",
    "function": "tool",
}


def turns_of(messages: Any, where: str) -> tuple[Turn, ...]:
    """A chat's turns, of which at least one is the assistant's. Raises `BadRow`."""
    if not isinstance(messages, list):
        raise BadRow("bad_field", f"{where}: not a list")
    return answered(tuple([_turn(message, number) for number, message in enumerate(messages, 1)]))


def answered(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The turns, if somebody answers in them. Raises `BadRow`."""
    for turn in turns:
        if turn.role == "assistant":
            return turns
    raise BadRow("no_assistant_turn", f"none of the {len(turns)} messages is by the assistant")


def spoken(
    role: str, text: str, number: int, weight: Any = None, calls: tuple[Call, ...] = (),
    name: str | None = None, call_id: str | None = None,
) -> Turn:
    """Message `number` as a turn; only answers are trained, those of weight 0 are not. Raises `BadRow`."""
    if weight is not None and (isinstance(weight, bool) or weight not in (0, 1)):
        raise BadRow("bad_weight", f"message {number}: weight is 0 (read only) or 1 (trained)")
    trained = role == "assistant" and weight != 0
    if calls:
        written = "\n".join([call.written for call in calls])
        return Turn(role, f"{text}\n{written}" if text else written, trained, calls, text, name, call_id)
    if role in ("user", "assistant") and (not text or text.isspace()):
        raise BadRow("empty_content", f"message {number} ({role}) is empty")
    return Turn(role, text, trained, name=name, call_id=call_id)


def tools_of(tools: Any) -> tuple[Json, ...] | None:
    """The tools a row declares: a list of objects, often spelled as a text. Raises `BadRow`."""
    if isinstance(tools, str) and tools.strip():
        try:
            tools = json.loads(tools)
        except (ValueError, RecursionError):
            raise BadRow("bad_tool", "tools is a text, but not JSON") from None
    if not tools or (isinstance(tools, str) and not tools.strip()):
        return None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise BadRow("bad_tool", "tools is not a list of objects")
    return tuple(tools)


def tool_name(tool: Json) -> Any:
    """The name by which a declared tool is called."""
    function = tool.get("function")
    return function.get("name") if isinstance(function, dict) else tool.get("name")


def doubtful_calls(row: Row) -> list[tuple[str, str]]:
    """What is worth knowing of a row's calls, code and message: tools nobody declared, unasked results."""
    found = []
    called = {call.name for turn in row.turns for call in turn.calls}
    if row.tools and not called <= {tool_name(tool) for tool in row.tools}:
        found.append(("undeclared_tool", "a call names a tool that the row does not declare"))
    open_ids: set[str] = set()
    waiting = 0
    for turn in row.turns:
        open_ids |= {call.id for call in turn.calls if call.id is not None}
        waiting += len(turn.calls)
        if turn.role == "tool":
            if not waiting or (turn.call_id is not None and open_ids and turn.call_id not in open_ids):
                found.append(("unpaired_result", "a tool's result answers no call before it"))
                break
            waiting -= 1
    return found


def calls_of(values: Iterable[Any], number: int) -> tuple[Call, ...]:
    """The calls of message `number`, given as OpenAI's objects or as bare `{name, arguments}`."""
    return tuple([_call(value, number) for value in values])


def _turn(message: Any, number: int) -> Turn:
    if not isinstance(message, dict):
        raise BadRow("bad_field", f"message {number} is not an object")
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise BadRow("unknown_role", f"message {number}: the role is none of {', '.join(ROLES)}")
    content = message.get("content")
    text = content if isinstance(content, str) else _joined(content, number)
    role = ROLES[role]
    calls: tuple[Call, ...] = ()
    if role == "assistant":
        if reasoning := message.get("reasoning_content"):
            text = _reasoned(reasoning, text, number)
        if "tool_calls" in message or "function_call" in message:
            calls = _message_calls(message, number)
    if message.keys() == PLAIN:  # as nearly always
        return spoken(role, text, number)
    return spoken(
        role, text, number, message.get("weight"), calls,
        _named(message, "name", number), _named(message, "tool_call_id", number),
    )


def _joined(content: Any, number: int) -> str:
    """The text of null (usual beside tool calls), or of a list of text parts."""
    if content is None:
        return ""
    if not isinstance(content, list):
        raise BadRow("bad_field", f"message {number}: content is neither text nor a list of parts")
    texts = [_part(part) for part in content]
    if None in texts:
        raise BadRow("not_text", f"message {number}: a part of the content is not text")
    return "".join(text for text in texts if text is not None)


def _part(part: Any) -> str | None:
    if isinstance(part, dict) and part.get("type", "text") == "text":
        part = part.get("text")
    return part if isinstance(part, str) else None


def _named(message: Json, key: str, number: int) -> str | None:
    value = message.get(key)
    if value is None or isinstance(value, str):
        return value
    raise BadRow("bad_field", f"message {number}: {key} is not text")


def _reasoned(reasoning: Any, text: str, number: int) -> str:
    if not isinstance(reasoning, str):
        raise BadRow("bad_field", f"message {number}: reasoning_content is not text")
    return f"<think>\n{reasoning.strip(chr(10))}\n</think>\n\n{text.lstrip(chr(10))}"


def _message_calls(message: Json, number: int) -> tuple[Call, ...]:
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise BadRow("bad_tool", f"message {number}: tool_calls is not a list")
    older = message.get("function_call")        # one call, as OpenAI wrote it before tools
    return calls_of([*calls, older] if older else calls, number)


def _call(value: Any, number: int) -> Call:
    function = (value.get("function") or value) if isinstance(value, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or "arguments" not in function:
        raise BadRow("bad_tool", f"message {number}: a tool call needs a name and arguments")
    arguments = function["arguments"]
    if not isinstance(arguments, str):
        try:
            arguments = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        except ValueError:
            raise BadRow("json_number", f"message {number}: a number is too large") from None
    known = value.get("id")
    return Call(name, arguments, known if isinstance(known, str) else None)
