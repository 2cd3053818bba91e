"""The forms: what a POST carries, read within bounds; files flow through, they are never held in memory."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

FORM_BYTES = 16_384
PARTS = 200
DIGITS = 18  # as many fit any position of the log


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


def number(text: str) -> int | None:
    """A whole number from what an address or a form says; None: it is none, or too long for any position."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS else None


@dataclass(frozen=True, slots=True)
class Part:
    """The head of one part of a multipart body; `file` is None for a plain field."""

    name: str
    file: str | None


#: Told of each part: its head, then its bytes in pieces, then None at its end.
Take = Callable[[Part, bytes | None], Awaitable[None]]


async def parts(request: Request, take: Take) -> None:
    """Stream a multipart/form-data body into `take`. Raises BadForm."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise BadForm("send the file as multipart/form-data", 415)
    heard = _Heard()
    try:
        parser = MultipartParser(options[b"boundary"], heard.callbacks())
        async for chunk in request.stream():
            parser.write(chunk)
            for part, piece in heard.drain():
                await take(part, piece)
    except FormParserError as error:
        raise BadForm(f"the form could not be read ({error})") from error
    if not heard.ended:
        raise BadForm("the upload ended early: send it again")


class _Heard:
    """What the parser says of the newest chunk, until it is passed on."""

    def __init__(self) -> None:
        self.ended = False
        self._said: list[tuple[Part, bytes | None]] = []
        self._part = Part("", None)
        self._field, self._value, self._disposition = b"", b"", b""
        self._seen = 0

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._hear_field,
            "on_header_value": self._hear_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": lambda data, start, end: self._said.append((self._part, data[start:end])),
            "on_part_end": lambda: self._said.append((self._part, None)),
            "on_end": self._end,
        }

    def drain(self) -> list[tuple[Part, bytes | None]]:
        said, self._said = self._said, []
        return said

    def _begin(self) -> None:
        self._disposition = b""
        self._seen += 1
        if self._seen > PARTS:
            raise BadForm("too many parts in one form")

    def _hear_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _hear_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        self._field, self._value = b"", b""

    def _end_headers(self) -> None:
        kind, options = parse_options_header(self._disposition)
        if kind != b"form-data":
            raise BadForm("a part without its Content-Disposition")
        name, file = options.get(b"name", b""), options.get(b"filename")
        self._part = Part(
            name.decode("utf-8", "replace"), file.decode("utf-8", "replace") if file is not None else None
        )

    def _end(self) -> None:
        self.ended = True
