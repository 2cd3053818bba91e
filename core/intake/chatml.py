"""ChatML, written directly; and does a base model's own chat template write the same? Asked on samples."""

import re
from dataclasses import dataclass

from core.intake.formats import read
from core.intake.problems import MACHINE_FAULTS
from core.intake.rows import Json, Row, Turn
from core.intake.sandbox import ChatTemplate

START, END = "<|im_start|>", "<|im_end|>"

QUESTION: Json = {"role": "user", "content": "One?"}
ANSWER: Json = {"role": "assistant", "content": "Two."}
SYSTEM: Json = {"role": "system", "content": "Be brief."}
THOUGHT: Json = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nTwo."}
CALL: Json = {"role": "assistant", "content": None, "tool_calls": [
    {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": ["é"]}}},
    {"type": "function", "function": {"name": "add", "arguments": {}}},
]}
RESULT: Json = {"role": "tool", "content": "3"}
TOOL: Json = {"type": "function", "function": {
    "name": "add", "description": "Adds.", "parameters": {"type": "object", "properties": {}},
}}

PLAIN: tuple[list[Json], ...] = (
    [QUESTION, ANSWER],
    [SYSTEM, QUESTION, ANSWER],
    [SYSTEM, QUESTION, ANSWER, QUESTION, ANSWER],
)
WITH_TOOLS: tuple[list[Json], ...] = (
    [QUESTION, CALL, RESULT, RESULT, ANSWER],
    [SYSTEM, QUESTION, CALL, RESULT, ANSWER, QUESTION, ANSWER],
)

# What stock templates add by themselves: an empty thought before the last answer, a default system prompt.
EMPTY_THOUGHT = re.compile(r"(?<=<\|im_start\|>assistant\n)<think>\n\n</think>\n\n")
FIRST_SYSTEM = re.compile(r"\A<\|im_start\|>system\n.*?<\|im_end\|>\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a template was found to do; None for a problem that it does not have."""

    chat_problem: str | None
    tools_problem: str | None
    notes: tuple[str, ...] = ()


def write(turns: tuple[Turn, ...]) -> str:
    """ChatML as we train it; every turn as the row says, tool results together in a user turn."""
    return "".join(f"{START}{piece}{END}\n" for piece, _ in blocks(turns))


def blocks(turns: tuple[Turn, ...]) -> list[tuple[str, Turn]]:
    """What stands between the control tokens, turn by turn: "role\\ntext", with the turn it was made of."""
    made: list[tuple[str, Turn]] = []
    for turn in turns:
        if turn.role != "tool":
            made.append((f"{turn.role}\n{turn.text}", turn))
            continue
        result = f"\n<tool_response>\n{turn.text}\n</tool_response>"
        if made and made[-1][1].role == "tool":
            made[-1] = (made[-1][0] + result, turn)
        else:
            made.append((f"user{result}", turn))
    return made


def inspect(template: ChatTemplate | None) -> Finding:
    """Compare the template's writing of the sample conversations with ours."""
    if template is None:
        return Finding(
            None, "the base model has no chat template, so nothing says how it is told of tools",
            ("the base model has no chat template: chats are written as ChatML",),
        )
    notes: list[str] = []
    for messages in PLAIN:
        problem = _difference(template, messages, None, notes)
        if problem:
            return Finding(problem, problem)
    problems = [_difference(template, messages, (TOOL,), notes) for messages in WITH_TOOLS]
    tools_problem = next((problem for problem in problems if problem), None)
    notes += _thinking(template)
    return Finding(None, tools_problem, tuple(dict.fromkeys(notes)))


def _difference(
    template: ChatTemplate, messages: list[Json], tools: tuple[Json, ...] | None, notes: list[str],
) -> str | None:
    row = read({"messages": messages}, "messages")
    try:
        theirs = template.render(messages, list(tools) if tools else None)
        if tools:
            row = declare(row, tools, template)
    except MACHINE_FAULTS:
        raise
    except Exception as error:                  # a template may raise anything; the user is shown what
        return f"its chat template fails on an ordinary conversation ({type(error).__name__}: {error})"
    ours = write(row.turns)
    bare = EMPTY_THOUGHT.sub("", theirs)
    if bare != theirs:
        notes.append("the template adds an empty thought before the last answer; rows are trained without it")
    if row.turns[0].role != "system" and bare.startswith(f"{START}system\n"):
        bare = FIRST_SYSTEM.sub("", bare)
        notes.append("the template adds a system prompt of its own; rows are trained without it")
    if bare.rstrip("\n") == ours.rstrip("\n"):
        return None
    return "its chat template does not write " + ("tools the way we do" if tools else "ChatML")


def declare(row: Row, tools: tuple[Json, ...], template: ChatTemplate) -> Row:
    """The row with its tools written into its system turn, in the words of the base's own template."""
    has_system = row.turns[0].role == "system"
    text = _system_with_tools(template, row.turns[0].text if has_system else None, tools)
    return Row((Turn("system", text, trained=False), *row.turns[has_system:]))


def _system_with_tools(template: ChatTemplate, system: str | None, tools: tuple[Json, ...]) -> str:
    """The text of the system turn in which the template declares these tools."""
    opening = [] if system is None else [{"role": "system", "content": system}]
    text = template.render([*opening, QUESTION, ANSWER], list(tools))
    head, question, _ = text.partition(f"{END}\n{START}user\n{QUESTION['content']}{END}\n")
    if not question or not head.startswith(f"{START}system\n"):
        raise ValueError("the template puts tools elsewhere than into the system turn")
    return head.removeprefix(f"{START}system\n")


def _thinking(template: ChatTemplate) -> list[str]:
    try:
        theirs = template.render([QUESTION, THOUGHT, QUESTION, ANSWER])
    except MACHINE_FAULTS:
        raise
    except Exception as error:                  # a template may raise anything; a note tells what
        return [f"the template fails on an answer with a thought ({type(error).__name__})"]
    if "Hm." in theirs:
        return []
    return ["the template leaves earlier answers' thoughts out; rows are trained as they are written"]
