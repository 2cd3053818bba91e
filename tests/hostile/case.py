"""One hostile case: what is dropped, and how it must end."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: In every row of every case: what is found of it outside the files themselves has leaked.
MARKER = "zanzibar-6f1c"


@dataclass(frozen=True, slots=True)
class Case:
    """A thing in the inbox. `code` begins the reason; of a row's code, `line` is the first line it is on.

    `state`: rejected, accepted, accepted_with_warnings (`code` is among the warnings), duplicate, ignored
    (`code` is the reason told), or left: nobody's business, such as a name with a dot in front.
    """

    name: bytes  # below the inbox
    content: bytes | Callable[[Path], object]  # or what makes it
    state: str
    code: str = ""
    line: int | None = None

    def __str__(self) -> str:
        return self.name.decode("utf-8", "backslashreplace").encode("ascii", "backslashreplace").decode()[:60]

    @property
    def is_checked(self) -> bool:
        """Does it end with a verdict of the check?"""
        return self.state in ("rejected", "accepted", "accepted_with_warnings")

    def make(self, folder: Path) -> Path | None:
        """The thing itself, below `folder`; None where the system does not permit to make it."""
        path = folder / Path(*map(_decoded, self.name.split(b"/")))
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
            return path
        try:
            self.content(path)
        except PermissionError:
            return None
        return path


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def user(text: Any = "What is it?") -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: Any = "It is what it is, and nothing else.", **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


def good(of: str, form: str = "messages") -> dict[str, Any]:
    """An ordinary row, of a text that no other case has."""
    asked, given = f"Where is {MARKER} of {of}?", f"In the {of}, {MARKER}, as it always was and will be."
    return {
        "messages": {"messages": [user(asked), assistant(given)]},
        "sharegpt": {"conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": given}]},
        "alpaca": {"instruction": asked, "output": given},
        "prompt_completion": {"prompt": asked, "completion": given},
        "question_answer": {"question": asked, "answer": given},
        "text": {"text": given},
    }[form]


def written(*rows: Any) -> bytes:
    """Rows as lines: objects as JSON, bytes as they are."""
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)
