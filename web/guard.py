"""The guard: who may ask at all. Refuses foreign hosts and sites, and seals every answer with its headers.

A page elsewhere may aim a request at a local port, or point its own name at 127.0.0.1; the Host header gives
the second away, Sec-Fetch-Site and Origin the first. Only the Host check stops reading.
"""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL = ("localhost", "127.0.0.1", "[::1]")
HOST = re.compile(r"([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?", re.ASCII)

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # Referer is what old browsers offer beside Origin
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
FORMS = ("application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
DATA = ("/live", "/healthz")


class Guard:
    """ASGI middleware around every route, static files and errors included."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = LOCAL) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                missing = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in given]
                if b"cache-control" not in given:
                    missing.append((b"cache-control", b"no-store"))
                message = {**message, "headers": [*message["headers"], *missing]}
            await send(message)

        refused = self._refuse(scope)
        await (refused or self._app)(scope, receive, sealed)

    def _refuse(self, scope: Scope) -> Response | None:
        named = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(named) != 1 or not self._known(named[0]):
            return _no(400, f"This monitor answers only to {', '.join(sorted(self._hosts))}.")
        if not scope["path"].startswith("/"):
            return _no(400, "The request line must hold a path.")
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["method"] in ("GET", "HEAD"):
            return _foreign_read(headers, scope["path"], named[0])
        return _foreign_write(headers, named[0])

    def _known(self, host: str) -> bool:
        match = HOST.fullmatch(host.lower())
        return match is not None and match.group(1) in self._hosts


def _foreign_read(headers: dict[str, str], path: str, host: str) -> Response | None:
    """A link from elsewhere may open a page; nothing else from elsewhere gets an answer."""
    site = headers.get("sec-fetch-site", "none")
    opens = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    is_data = path.endswith(".json") or path in DATA
    if site in ("cross-site", "same-site") and (is_data or not opens):
        return _no(403, "Asked for by another site.")
    if "origin" in headers and not _same(headers["origin"], host):
        return _no(403, "Asked for by another site.")
    return None


def _foreign_write(headers: dict[str, str], host: str) -> Response | None:
    site = headers.get("sec-fetch-site")
    if site is not None:
        return None if site in ("same-origin", "none") else _no(403, "Sent by another site.")
    told = headers.get("origin") or headers.get("referer")
    if told is not None:
        return None if _same(told, host) else _no(403, "Sent by another site.")
    kind = headers.get("content-type", "text/plain").partition(";")[0].strip().lower()
    if kind in FORMS and "x-requested-with" not in headers:
        return _no(403, "A form without Origin: send the header X-Requested-With if this is a script.")
    return None


def _same(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def _no(status: int, why: str) -> Response:
    return PlainTextResponse(f"Refused. {why}\n", status_code=status)
