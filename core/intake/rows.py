"""The one internal form of a row: turns with their text, and what of them is trained."""

import hashlib
import json
import unicodedata
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

_CANONICAL = json.JSONEncoder(ensure_ascii=True, sort_keys=True).encode


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool. `arguments` is JSON as text, the way it is trained."""

    name: str
    arguments: str
    id: str | None = None

    @property
    def written(self) -> str:
        """As Qwen and Hermes models write it: one JSON object between tags."""
        return f'<tool_call>\n{{"name": "{self.name}", "arguments": {self.arguments}}}\n</tool_call>'


@dataclass(frozen=True, slots=True)
class Turn:
    role: str  # system, user, assistant, tool; text for a plain document
    text: str  # calls included, as Qwen and Hermes models write them
    trained: bool  # its tokens are training targets
    calls: tuple[Call, ...] = ()
    said: str = ""  # where there are calls: the text without them
    name: str | None = None  # of the speaker or the tool; only some templates show it
    call_id: str | None = None  # of the call that a tool's result answers


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
        parts = [[turn.role, composed(turn.text), turn.trained] for turn in self.turns]
        return hashlib.sha256(_CANONICAL([parts, self.tools]).encode()).digest()


def composed(text: str) -> str:
    """The text in Unicode's composed form (NFC), as tokenizers see it."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)
