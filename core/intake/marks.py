"""Turns as a chat template wants them, with the words themselves or with marks in their place."""

import json

from core.intake.rows import Json, Turn


def texts_of(turns: tuple[Turn, ...]) -> list[str]:
    """What marks stand for: of every turn its text, then the names of its calls."""
    texts: list[str] = []
    for turn in turns:
        texts.append(turn.said if turn.calls else turn.text)
        texts += [call.name for call in turn.calls]
    return texts


def marks_of(turns: tuple[Turn, ...], number: int) -> range:
    first = number + sum(len(turn.calls) for turn in turns[:number])
    return range(first, first + 1 + len(turns[number].calls))


def messages_of(turns: tuple[Turn, ...], marks: dict[int, str] | None = None) -> list[Json]:
    """The turns as a template wants them; with `marks`, those in place of what they stand for."""
    texts = texts_of(turns)
    if marks is not None:
        texts = [marks.get(number, "") for number in range(len(texts))]
    messages: list[Json] = []
    open_calls: list[tuple[str, str]] = []      # id and name of calls without a result yet
    at = 0
    for turn in turns:
        message: Json = {"role": turn.role, "content": texts[at]}
        if turn.name is not None:
            message["name"] = turn.name
        if turn.calls:
            open_calls = []
            message["tool_calls"] = []
            for n, call in enumerate(turn.calls, 1):
                known = call.id or f"call{at + n:05d}"      # nine characters, as some templates demand
                message["tool_calls"].append({"id": known, "type": "function", "function": {
                    "name": texts[at + n], "arguments": _arguments(call.arguments),
                }})
                open_calls.append((known, call.name))
        if turn.role == "tool":
            answered = open_calls.pop(0) if open_calls else (None, None)
            message |= {"tool_call_id": turn.call_id or answered[0], "name": turn.name or answered[1]}
        messages.append(message)
        at += 1 + len(turn.calls)
    return messages


def _arguments(text: str) -> object:
    """Templates write arguments as JSON themselves; what is no JSON is given as it stands."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
