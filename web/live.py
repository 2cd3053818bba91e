"""The live view: one thread follows the log, renders each changed fragment once, offers it to all viewers."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from web import keeping_views, readings, run_views, system_views, views, zoom
from web.hub import Hub, message
from web.plots import Curves
from web.present import Now, Present
from web.render import fragment

POLL_SECONDS = 0.025  # asking whether anybody has committed costs 4 µs
TEXT_SECONDS = 0.1  # least time between two messages
CALM_SECONDS = 1.0  # what changes without a fact: a process that fell silent, memory in use
CHART_SECONDS = 1.5
TABLE_SECONDS = 5.0  # small charts, the table of numbers and where to look closer


@dataclass(frozen=True, slots=True)
class Channel:
    """What one kind of page shows live: fragments by how often they may change."""

    prepare: Callable[[Present, Now], dict[str, Any]]
    fast: tuple[str, ...] = ()
    calm: tuple[str, ...] = ()
    charts: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    draw: Callable[[Present], dict[str, Any]] = lambda present: {}  # what charts and tables print

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.fast, *self.calm, *self.charts, *self.tables)


def _overview(whole: bool) -> Channel:
    return Channel(
        lambda present, now: views.overview(now), ("newest",),
        ("nav", "state", "figures", "controls", "alerts", "machine", "next", "facts"), ("loss-chart",),
        ("zoom", "small-charts", "loss-table"),
        lambda present: _drawn(present.curves(whole), "/", {"range": "all"} if whole else {}),
    )  # fmt: skip


def _drawn(curves: Curves, path: str, query: Mapping[str, str], newest: bool = True) -> dict[str, Any]:
    return views.charts(curves, newest) | zoom.controls(curves.trail, path, query)


def _calm(prepare: Callable[[Present, Now], dict[str, Any]], *fragments: str) -> Channel:
    return Channel(prepare, (), ("nav", *fragments))


CHANNELS = {
    "overview": _overview(False),
    "history": _overview(True),
    "queue": _calm(lambda _, now: views.queue(now), "queue-now", "queue-waiting", "queue-ended"),
    "runs": _calm(lambda present, now: run_views.runs(present, now), "runs-list"),
    "versions": _calm(lambda _, now: keeping_views.versions(now), "versions-list", "asked"),
    "backups": _calm(lambda _, now: keeping_views.backups(now), "backups-list", "backups-state", "asked"),
    "disk": _calm(lambda present, now: keeping_views.disk(present, now), "disk-state", "asked"),
    "crashes": _calm(lambda p, now: views.crashes(now, readings.hangs(p.log)), "crashes-list"),
    "system": _calm(lambda present, now: system_views.system(present, now), "system-now", "alerts", "drifts"),
    "audit": _calm(lambda _, now: views.common(now), "head"),
}


def channel(present: Present, name: str) -> Channel | None:
    """The channel of this name; `run/ID` is the page of one run. None: there is none."""
    if not name.startswith("run/"):
        return CHANNELS.get(name)
    found = present.state().run.runs.get(name.removeprefix("run/"))
    if found is None:
        return None
    return Channel(
        lambda present, now: run_views.run(present, now, found.id), (),
        ("nav", "run-state", "run-tables", "run-facts"), ("loss-chart",),
        ("zoom", "small-charts", "loss-table"),
        lambda present: _drawn(
            present.curves_of(present.state().run.runs[found.id]), f"/runs/{found.id}", {}, newest=False
        ),
    )  # fmt: skip


def render(present: Present, channel: Channel, names: Iterable[str], now: Now) -> dict[str, str]:
    """The text of these fragments."""
    wanted = tuple(names)
    if not wanted:
        return {}  # nothing is due: most facts are steps, and most pages show none
    values = channel.prepare(present, now)
    if any(name in channel.charts + channel.tables for name in wanted):
        values |= channel.draw(present)
    return {name: fragment(name, values) for name in wanted}


def fresh(present: Present, name: str, seen: int) -> dict[str, bytes]:
    """Everything a viewer that has just come may lack; charts only if its page is older than the log."""
    found, now = channel(present, name), present.look()
    if found is None:
        return {}
    wanted = found.all if seen < now.head else (*found.fast, *found.calm)
    return {key: message(key, now.head, text) for key, text in render(present, found, wanted, now).items()}


class Pulse:
    """The thread behind the live view."""

    def __init__(self, present: Present, hub: Hub) -> None:
        self.alive = False
        self._present, self._hub = present, hub
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._sent: dict[str, dict[str, str]] = {}  # channel → fragment → text
        self._due: dict[tuple[str, str], float] = {}  # (channel, how often) → not before
        self._change = -1
        self._head = -1
        self._seq = -1

    def start(self, loop: asyncio.AbstractEventLoop, ended: Callable[[], None]) -> None:
        """Begin; `ended` is called in the loop if the thread ends unasked."""
        self._thread = threading.Thread(target=self._run, args=(loop, ended), name="pulse", daemon=True)
        self.alive = True
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2)

    def _run(self, loop: asyncio.AbstractEventLoop, ended: Callable[[], None]) -> None:
        waiting = False
        try:
            while not self._stop.wait(POLL_SECONDS):
                change, now = self._present.log.change(), time.monotonic()
                if change != self._change or waiting or now >= self._due.get(("", "calm"), 0.0):
                    self._change = change
                    waiting = self._turn(loop, now)
        finally:
            # an error is printed by the interpreter; the process then ends, and its parent starts it again
            self.alive = False
            if not self._stop.is_set():
                loop.call_soon_threadsafe(ended)

    def _turn(self, loop: asyncio.AbstractEventLoop, at: float) -> bool:
        """Render what may and must be; True: something changed and has to wait for its time."""
        head, idle = self._present.log.head(), at < self._due.get(("", "calm"), 0.0)
        if idle and head == self._head:
            return False  # only a heartbeat: no reason to render
        watched = self._hub.channels
        for name in [name for name in self._sent if name not in watched]:
            del self._sent[name]
        if not watched:
            self._due["", "calm"] = at + CALM_SECONDS
            return False
        if any(at < self._due.get((name, "fast"), 0.0) for name in watched):
            return True
        self._head, self._due["", "calm"] = head, at + CALM_SECONDS
        now = self._present.look()
        for name in watched:
            found = channel(self._present, name)
            if found is not None:
                wanted = self._wanted(name, found, now, at)
                self._offer(loop, name, render(self._present, found, wanted, now), now.head)
        self._seq = now.state.seq
        return False

    def _wanted(self, name: str, channel: Channel, now: Now, at: float) -> list[str]:
        self._due[name, "fast"] = at + TEXT_SECONDS
        wanted = list(channel.fast)
        rhythms = (
            ("calm", channel.calm, CALM_SECONDS), ("charts", channel.charts, CHART_SECONDS),
            ("tables", channel.tables, TABLE_SECONDS),
        )  # fmt: skip
        for rhythm, fragments, every in rhythms:
            new_fact = rhythm == "calm" and now.state.seq != self._seq
            if fragments and (new_fact or at >= self._due.get((name, rhythm), 0.0)):
                self._due[name, rhythm] = at + every
                wanted += fragments
        return wanted

    def _offer(self, loop: asyncio.AbstractEventLoop, name: str, texts: Mapping[str, str], head: int) -> None:
        sent = self._sent.setdefault(name, {})
        changed = {key: text for key, text in texts.items() if sent.get(key) != text}
        sent.update(changed)
        if changed:
            messages = {key: message(key, head, text) for key, text in changed.items()}
            loop.call_soon_threadsafe(self._hub.publish, name, messages)
