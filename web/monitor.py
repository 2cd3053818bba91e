"""The monitor: what one web process holds open, and how its pages get at it."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from starlette.requests import Request

from db.workspace import Workspace
from events.heartbeat import Heartbeat
from events.log import Log
from web import render
from web.hub import Hub
from web.live import Pulse
from web.past import Past
from web.present import Present

T = TypeVar("T")
READERS = 3  # threads that read the log and render; each has its own connection
BEAT_SECONDS = 1.0


class Monitor:
    """One per process."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.log = Log(workspace.log, "web")
        self.present = Present(self.log, workspace)
        self.past = Past(self.log, self.present.state, self.present.stations)
        self.hub = Hub()
        self.pulse = Pulse(self.present, self.hub)
        self.failed = False
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="page")
        self._beats = ThreadPoolExecutor(1, thread_name_prefix="beat")

    async def run(self, work: Callable[[], T]) -> T:
        """Do it in a thread: the event loop never waits for a disk."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    def warm(self) -> None:
        """Fold the log and compile the templates."""
        render.warm()
        self.present.curves(whole=False)

    async def beat(self) -> None:
        """Say about once a second that this process lives: that the loop turns and a reader answers."""
        heart, loop = Heartbeat(self.log, "monitor"), asyncio.get_running_loop()
        try:
            while True:
                await self.run(lambda: None)
                await loop.run_in_executor(self._beats, lambda: heart.beat("idle", now=time.monotonic()))
                await asyncio.sleep(BEAT_SECONDS)
        finally:
            await asyncio.shield(loop.run_in_executor(self._beats, heart.gone))

    def close(self) -> None:
        """End every stream and let go of the log."""
        self.hub.close()
        self.pulse.stop()
        self._beats.shutdown()
        self._readers.shutdown()
        self.log.close()


def monitor(request: Request) -> Monitor:
    """The monitor of this request's application."""
    found: Monitor = request.app.state.monitor
    return found
