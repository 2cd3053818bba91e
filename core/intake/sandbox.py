"""A base model's chat template in a sandbox: it changes nothing, reaches nothing, and ends in time."""

import json
import re
import sys
import time
from datetime import datetime
from types import FrameType
from typing import Any

from jinja2 import Template
from jinja2.exceptions import SecurityError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from core.intake.rows import Json

OUTPUT_LIMIT = 1_000_000        # characters a template may write beyond eight times what it was given
SECONDS = 2.0                   # of work: a machine that stalls must not change what is trained
PRODUCT_LIMIT = 1_000_000       # no `'a' * 10**9`, no `10 ** 10 ** 10`

GENERATION = re.compile(r"\{%(-?)\s*(?:end)?generation\s*(-?)%\}")
NO_DAY = datetime(2000, 1, 1)   # the same row must give the same tokens on every day
NAMED = ("bos_token", "eos_token", "pad_token", "unk_token")


class TemplateFailed(ValueError):
    """The template cannot be compiled or refuses a conversation; never quotes it."""


class ChatTemplate:
    """A compiled chat template. `config` is that of the tokenizer, which names tokens to the template."""

    def __init__(self, source: str, config: Json) -> None:
        environment = _Environment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = NO_DAY.strftime
        self._template: Template = environment.from_string(GENERATION.sub(r"{#\1 \2#}", source))
        named = {key: config.get(key) for key in NAMED}
        texts = {key: one.get("content") if isinstance(one, dict) else one for key, one in named.items()}
        self._tokens = {key: text for key, text in texts.items() if isinstance(text, str)}

    def render(
        self, messages: list[Json], tools: list[Json] | None = None, *, answer_next: bool = False,
    ) -> str:
        """The conversation as text, with the header of an answer to come if asked for.

        Raises whatever the template raises, `TemplateFailed` where it writes or works without end.
        """
        names: Json = {"messages": messages, "tools": tools, "documents": None}
        names["add_generation_prompt"] = answer_next
        room = OUTPUT_LIMIT + 8 * (_size(messages) + _size(tools))
        written: list[str] = []
        with _Deadline(SECONDS):
            for part in self._template.generate({**self._tokens, **names}):
                room -= len(part)
                if room < 0:
                    raise TemplateFailed("the chat template writes without end")
                written.append(part)
        return "".join(written)


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(["*", "**"])

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [len(side) if isinstance(side, (str, list, tuple)) else side for side in (left, right)]
        if not all(isinstance(size, (int, float)) for size in sizes):
            raise SecurityError(f"{operator} of something else than numbers and texts")
        limit = PRODUCT_LIMIT if operator == "*" else 64    # of a power, both sides
        if any(abs(size) > limit for size in sizes) or (operator == "*" and abs(sizes[0] * sizes[1]) > limit):
            raise SecurityError(f"{operator} gives more than a template may make")
        return super().call_binop(context, operator, left, right)


class _Deadline:
    """Raises in this thread's Python code when time is up: a template is Python code once compiled.

    The time is what this thread has worked: standing still, by SIGSTOP or for want of memory, is no work.
    """

    def __init__(self, seconds: float) -> None:
        self._until = time.thread_time() + seconds

    def __enter__(self) -> None:
        self._before = sys.gettrace()
        if self._before is None:                # a debugger or a coverage tool keeps its place
            sys.settrace(self._enter)

    def __exit__(self, *_: object) -> None:
        if self._before is None:
            sys.settrace(None)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._look

    def _look(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line" and time.thread_time() > self._until:
            raise TemplateFailed(f"the chat template works for more than {SECONDS:.0f} s")
        return self._look


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(map(_size, value.values())) + sum(map(_size, value.keys()))
    return sum(map(_size, value)) if isinstance(value, list) else 8


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: int | None = None, separators: Any = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _refuse(message: str) -> None:
    raise TemplateFailed(message)
