"""The forms: what a POST carries, read within bounds; files flow through, they are never held in memory."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import Request

FORM_BYTES = 16_384
HEAD_BYTES = 8_192
PARTS = 200


class BadForm(Exception):
    """The body is not what was asked for: what is wrong, and the HTTP status that says so."""

    def __init__(self, problem: str, status: int = 400) -> None:
        super().__init__(problem)
        self.status = status


async def fields(request: Request) -> dict[str, str]:
    """The fields of a plain form. Raises BadForm."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise BadForm("send the form as application/x-www-form-urlencoded", 415)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES:
            raise BadForm("the form is too long", 413)
    try:
        return dict(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=20))
    except (UnicodeDecodeError, ValueError) as error:
        raise BadForm("the form could not be read") from error


@dataclass(frozen=True, slots=True)
class Part:
    """The head of one part of a multipart body; `file` is None for a plain field."""

    name: str
    file: str | None


#: Told of each part: its head, then its bytes in pieces, then None at its end.
Take = Callable[[Part, bytes | None], Awaitable[None]]


async def parts(request: Request, take: Take) -> None:
    """Stream a multipart/form-data body into `take`. Raises BadForm."""
    kind = request.headers.get("content-type", "")
    found = re.match(r'multipart/form-data\s*;.*?boundary="?([^";,]{1,70})"?', kind, re.IGNORECASE)
    if found is None:
        raise BadForm("send the file as multipart/form-data", 415)
    await _split(request.stream(), b"\r\n--" + found.group(1).encode("latin-1"), take)


async def _split(stream: AsyncIterator[bytes], mark: bytes, take: Take) -> None:
    """The bytes between boundaries; what might be the begin of a boundary is held back."""
    held, part, seen = b"\r\n", None, 0
    async for chunk in stream:
        held += chunk
        while True:
            at = held.find(mark)
            if at < 0:
                if len(held) > len(mark):
                    piece, held = held[: -len(mark)], held[-len(mark) :]
                    if part is not None:
                        await take(part, piece)
                break
            if part is not None:
                if at:
                    await take(part, held[:at])
                await take(part, None)
                part = None
            rest = held[at + len(mark) :]
            if rest.startswith(b"--"):
                return
            end = rest.find(b"\r\n\r\n")
            if end < 0:
                if len(rest) > HEAD_BYTES:
                    raise BadForm("the head of a part is too long")
                held = held[at:]
                break
            seen += 1
            if seen > PARTS:
                raise BadForm("too many parts in one form")
            part, held = _head(rest[:end]), rest[end + 4 :]
    raise BadForm("the upload ended early: send it again")


def _head(head: bytes) -> Part:
    text = head.decode("utf-8", "replace")
    line = re.search(r"^content-disposition:\s*form-data\b(.*)$", text, re.IGNORECASE | re.MULTILINE)
    if line is None:
        raise BadForm("a part without its Content-Disposition")
    given = dict(re.findall(r';\s*(name|filename)="((?:[^"\\]|\\.)*)"', line.group(1), re.IGNORECASE))
    return Part(given.get("name", ""), given.get("filename"))
