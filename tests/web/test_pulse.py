"""The pulse: what the thread behind the live view renders, and when."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest

from tests.web.story import Story
from web.hub import Viewer
from web.live import CHANNELS
from web.monitor import Monitor
from web.present import Now, Present

WAIT_SECONDS = 30


def test_a_fact_that_changes_nothing_on_a_page_costs_its_viewers_nothing(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.live.CALM_SECONDS", 10 * WAIT_SECONDS)
    prepared, queue = list[int](), CHANNELS["queue"]

    def counted(present: Present, now: Now) -> dict[str, Any]:
        prepared.append(now.head)
        return queue.prepare(present, now)

    monkeypatch.setitem(CHANNELS, "queue", replace(queue, prepare=counted))
    story.waits("a.jsonl")
    story.starts("a.jsonl")

    async def arrives(viewer: Viewer, name: str, text: str) -> None:
        until = time.monotonic() + WAIT_SECONDS
        while text.encode() not in viewer.pending.get(name, b""):
            assert time.monotonic() < until, f"{text} never came"
            await asyncio.sleep(0.01)

    async def watch(monitor: Monitor) -> list[int]:
        looking, waiting = Viewer("overview"), Viewer("queue")
        for viewer in (looking, waiting):
            monitor.hub.join(viewer)
        monitor.pulse.start(asyncio.get_running_loop(), lambda: None)
        try:
            await arrives(waiting, "queue-now", "a.jsonl")
            counts = [len(prepared)]
            for n in range(1, 6):  # each in a turn of its own: once the next has come, the one before is done
                story.steps(n, 1, loss=4.0 + n)
                await arrives(looking, "newest", f"{4 + n}.000")
            counts.append(len(prepared))
            story.waits("b.jsonl")
            await arrives(waiting, "queue-waiting", "b.jsonl")
            return [*counts, len(prepared)]
        finally:
            monitor.close()  # before the loop ends: its thread speaks to it

    monitor = Monitor(story.workspace)
    counts = asyncio.run(watch(monitor))

    assert [1, 1] == counts[:2]
    assert counts[1] < counts[2]  # a fact that it shows does reach it
