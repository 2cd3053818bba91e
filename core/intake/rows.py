"""The one internal form of a row: turns with their text, and what of them is trained."""

import hashlib
import json
import re
import unicodedata
from functools import cache
from json.encoder import encode_basestring_ascii as _spelled  # JSON of one text, without asking what it is
from typing import Any

from msgspec import Struct

Json = dict[str, Any]

#: Characters that are hashed at a time, and marks on one letter that are too many.
PIECE, MARKS = 1 << 18, 4096

_CANONICAL = json.JSONEncoder(ensure_ascii=True, sort_keys=True).encode


class Call(Struct, frozen=True):
    """One call of a tool. `arguments` is JSON as text, the way it is trained."""

    name: str
    arguments: str
    id: str | None = None

    @property
    def written(self) -> str:
        """As Qwen and Hermes models write it: one JSON object between tags."""
        return f'<tool_call>\n{{"name": "{self.name}", "arguments": {self.arguments}}}\n</tool_call>'


class Turn(Struct, frozen=True):
    role: str  # system, user, assistant, tool; text for a plain document
    text: str  # calls included, as Qwen and Hermes models write them
    trained: bool  # its tokens are training targets
    calls: tuple[Call, ...] = ()
    said: str = ""  # where there are calls: the text without them
    name: str | None = None  # of the speaker or the tool; only some templates show it
    call_id: str | None = None  # of the call that a tool's result answers


class Row(Struct, frozen=True):
    turns: tuple[Turn, ...]
    tools: tuple[Json, ...] | None = None

    @property
    def is_chat(self) -> bool:
        return self.turns[0].role != "text"

    @property
    def sha256(self) -> bytes:
        """32 bytes that tell rows apart by content: spelling of the JSON and Unicode form do not matter."""
        digest = hashlib.sha256()
        before = "[["
        for turn in self.turns:
            text, before = composed(turn.text), f"{before}[{_spelled(turn.role)}, \""
            for start in range(0, len(text) - PIECE, PIECE):    # escaped it may be twelve times as long
                digest.update(f"{before}{_spelled(text[start : start + PIECE])[1:-1]}".encode())
                before = ""
            last = text if len(text) <= PIECE else text[-((len(text) - 1) % PIECE + 1) :]
            digest.update(f'{before}{_spelled(last)[1:-1]}", {"true" if turn.trained else "false"}]'.encode())
            before = ", "
        digest.update(f"], {'null' if self.tools is None else _CANONICAL(self.tools)}]".encode())
        return digest.digest()


def composed(text: str) -> str:
    """The text in Unicode's composed form (NFC), as tokenizers see it.

    A text with thousands of marks on one letter stays as it is: to put them in order takes the square of
    their number.
    """
    if text.isascii() or _has_many_marks(text):
        return text
    return unicodedata.normalize("NFC", text)


def is_composed(text: str) -> bool:
    """Is it certain that the text is in the composed form?"""
    return text.isascii() or (not _has_many_marks(text) and unicodedata.is_normalized("NFC", text))


def _has_many_marks(text: str) -> bool:
    return len(text) > MARKS and _many_marks().search(text) is not None


@cache
def _many_marks() -> re.Pattern[str]:
    marks = "".join(chr(code) for code in range(0x300, 0x1F000) if unicodedata.combining(chr(code)))
    return re.compile(f"[{re.escape(marks)}]{{{MARKS}}}")
