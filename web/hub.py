"""The hub: viewers of the live stream; each holds at most the newest text of every fragment."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

from starlette.types import Receive, Scope, Send

VIEWERS = 64
PING_SECONDS = 15.0
STALLED_SECONDS = 30.0  # a reader that takes nothing for so long is let go

START = {
    "type": "http.response.start", "status": 200,
    "headers": [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")],
}  # fmt: skip
PING = b"event: ping\ndata:\n\n"


def message(name: str, seq: int, text: str) -> bytes:
    """One server-sent event; `id` is the log position of what is shown."""
    lines = "".join(f"data: {line}\n" for line in text.split("\n") if line)
    return f"event: {name}\nid: {seq}\n{lines or 'data:' + chr(10)}\n".encode()


class Viewer:
    """One open stream: what it was not sent yet, by fragment, so that a slow one skips, never piles up."""

    def __init__(self, channel: str) -> None:
        self.channel = channel
        self.pending: dict[str, bytes] = {}
        self.wake = asyncio.Event()
        self.closed = False

    def close(self) -> None:
        self.closed = True
        self.wake.set()


class Hub:
    """Every open stream; used from the event loop alone, but for `channels`."""

    def __init__(self) -> None:
        self.channels: frozenset[str] = frozenset()  # those somebody looks at; replaced, never changed
        self.closed = False
        self._viewers: set[Viewer] = set()

    def __len__(self) -> int:
        return len(self._viewers)

    def join(self, viewer: Viewer) -> None:
        self._viewers.add(viewer)
        self._count()

    def leave(self, viewer: Viewer) -> None:
        self._viewers.discard(viewer)
        self._count()

    def _count(self) -> None:
        self.channels = frozenset(viewer.channel for viewer in self._viewers)

    def publish(self, channel: str, messages: Mapping[str, bytes]) -> None:
        """Offer new text of some fragments to everybody who looks at them."""
        for viewer in self._viewers:
            if viewer.channel == channel:
                viewer.pending.update(messages)
                viewer.wake.set()

    def close(self) -> None:
        """End every stream, now."""
        self.closed = True
        for viewer in self._viewers:
            viewer.close()


class EventStream:
    """The answer to GET /live: everything once, then every change, a ping when nothing happens."""

    def __init__(self, hub: Hub, channel: str, fresh: Callable[[], Awaitable[Mapping[str, bytes]]]) -> None:
        self._hub, self._channel, self._fresh = hub, channel, fresh

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        viewer = Viewer(self._channel)
        self._hub.join(viewer)  # first, so that nothing is missed while the fresh text is made
        left = asyncio.create_task(self._until_left(receive, viewer))
        try:
            await send(START)
            for name, text in (await self._fresh()).items():
                viewer.pending.setdefault(name, text)
            viewer.wake.set()
            with contextlib.suppress(TimeoutError):  # a stalled reader: it will come back by itself
                await self._pump(viewer, send)
        finally:
            left.cancel()
            self._hub.leave(viewer)

    async def _pump(self, viewer: Viewer, send: Send) -> None:
        while not viewer.closed and not self._hub.closed:
            chunk = PING
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(viewer.wake.wait(), PING_SECONDS)
                viewer.wake.clear()
                chunk = b"".join(viewer.pending.values())
                viewer.pending.clear()
            if chunk and not viewer.closed:
                body = {"type": "http.response.body", "body": chunk, "more_body": True}
                await asyncio.wait_for(send(body), STALLED_SECONDS)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    @staticmethod
    async def _until_left(receive: Receive, viewer: Viewer) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        viewer.close()
