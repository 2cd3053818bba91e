"""The views: what the templates print, prepared from state. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from events.types import Event, ProcessHung, Recorded
from projections import documents
from projections.crashes import grouped
from projections.figures import count, figure
from projections.fold import State
from projections.queue import PRIORITIES, Entry
from web.charts import Chart, coarse, draw
from web.plots import Curves
from web.present import Now
from web.sentences import Line, line
from web.words import plain, rate

ENDED_SHOWN = 50
NEXT_SHOWN = 4
SMALL_COLUMNS = 60

SMALL = (
    ("learning_rate", "Learning rate", rate, rate),
    ("grad_norm", "Gradient norm", figure, plain),
    ("tokens_per_sec", "Tokens per second", count, count),
    ("penalty_mass", "Probability of penalised tokens", rate, rate),
)
RARE = ("penalty_mass",)  # no chart where no step has it

#: Which controls are offered: (action, label, what it does).
CONTROLS = {
    "pause": ("Pause", "Checkpoint at the next step, free the GPU, keep the file."),
    "resume": ("Resume", "Go on where it was left."),
    "skip": ("Skip file", "End this run; its steps stay, no version is made."),
    "stop": ("Stop", "Like pause, and the file goes back to the head of its queue."),
}


@dataclass(frozen=True, slots=True)
class Control:
    action: str
    label: str
    title: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class Meter:
    """A used share of something; `detail` in words."""

    name: str
    used: float | None
    total: float | None
    detail: str = ""

    @property
    def percent(self) -> int | None:
        return round(100 * self.used / self.total) if self.used is not None and self.total else None


def controls(state: State) -> list[Control]:
    """What may be asked now: a request already under way is not offered again."""
    asked = {request.type for request in state.control.pending}
    mode, running = state.control.mode, state.run.current is not None
    on = {
        "pause": mode == "running" and not asked & {"PauseRequested", "StopRequested"},
        "resume": (mode != "running" or bool(asked & {"PauseRequested", "StopRequested"}))
        and "ResumeRequested" not in asked,
        "skip": running and "SkipRequested" not in asked,
        "stop": mode != "stopped" and "StopRequested" not in asked,
    }
    return [Control(action, label, title, on[action]) for action, (label, title) in CONTROLS.items()]


def asked(state: State) -> list[str]:
    """The requests that still wait for their answer, in words."""
    return [
        f"{request.type.removesuffix('Requested').lower()} asked by {request.actor} (#{request.seq})"
        for request in state.control.pending
    ]


def title(document: Mapping[str, Any]) -> str:
    """The state in a browser tab: "62 % · training · v0012"."""
    run = document["run"]
    share = [f"{percent(run)} %"] if run else []
    return " · ".join([*share, document["status"], document["current_version"] or "no version yet"])


def percent(run: Mapping[str, Any]) -> int:
    """How far a run is; 100 only when every step is done."""
    return int(100 * run["step"] / run["steps_planned"]) if run["steps_planned"] else 0


def meters(document: Mapping[str, Any]) -> list[Meter]:
    """RAM, disk and each GPU as measured; nothing where nothing is known."""
    found = []
    for name, key in (("RAM", "ram"), ("Disk", "disk")):
        if isinstance(measured := document[key], Mapping):
            found.append(_meter(name, measured))
    for gpu in document["gpu"]:
        words = [
            f"{gpu[key]:.0f}{unit}"
            for key, unit in (("utilization", " % busy"), ("temperature_c", " °C"), ("power_w", " W"))
            if gpu.get(key) is not None
        ]
        used, total = gpu.get("memory_used_bytes"), gpu.get("memory_total_bytes")
        found.append(Meter(gpu["name"] or "GPU", used, total, ", ".join(words)))
    return found


def _meter(name: str, measured: Mapping[str, Any]) -> Meter:
    total, used, free = (measured.get(f"{key}_bytes") for key in ("total", "used", "free"))
    if used is None and free is None:
        free = measured.get("available_bytes")
    if used is None and total is not None and free is not None:
        used = total - free
    return Meter(name, used, total)


@dataclass(frozen=True, slots=True)
class Row:
    """One file on the queue page."""

    entry: Entry
    position: int | None
    at: int | None = None


def waiting(state: State) -> list[Row]:
    """What is to come, with its place in the queue."""
    places = state.queue.positions()
    return [Row(entry, places.get(entry.sha256)) for entry in documents.waiting(state)]


def common(now: Now) -> dict[str, Any]:
    """What every page and every live fragment may print."""
    state, document = now.state, now.document
    return {
        "now": now, "state": state, "doc": document, "seq": state.seq, "head": now.head,
        "title": title(document), "waiting_count": len(state.queue.waiting),
    }  # fmt: skip


def overview(now: Now) -> dict[str, Any]:
    """The overview without its charts."""
    state, run = now.state, now.document["run"]
    lines: list[Line] = [line(recorded, state) for recorded in now.notable]
    return common(now) | {
        "controls": controls(state), "asked": asked(state), "meters": meters(now.document),
        "run": run, "percent": percent(run) if run else None, "lines": lines,
        "next": [state.queue.entries[sha] for sha in state.queue.waiting[:NEXT_SHOWN]],
        "entry": state.queue.entries[state.queue.processing] if state.queue.processing else None,
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Requested:
    """A request as a list shows it, with what became of it."""

    request: Line
    answer: Line | None
    waiting: bool


def requests(now: Now, kinds: Iterable[type[Event]], about: str | None = None) -> list[Requested]:
    """The newest requests of these kinds, newest first; `about`: of one version or file alone."""
    pending = {request.seq for request in now.state.control.pending}
    return [
        Requested(
            line(one.request, now.state), line(one.answer, now.state) if one.answer else None,
            one.request.seq in pending,
        )
        for one in now.asked
        if isinstance(one.request.event, tuple(kinds))
        and (about is None or about in _about(one.request.event))
    ]  # fmt: skip


def _about(event: Event) -> tuple[str | None, str | None]:
    return getattr(event, "version", None), getattr(event, "sha256", None)


def loss_chart(curves: Curves) -> Chart | None:
    return draw(
        curves.trail.columns("loss"), curves.validations, curves.marks, name="Training loss", ticks=4,
        earlier=curves.trail.earlier("loss"), fixed=curves.fixed,
    )  # fmt: skip


def charts(curves: Curves, newest: bool = True) -> dict[str, Any]:
    """The charts; what was done again stands apart. `newest`: with the figures of this moment."""
    trail, small = curves.trail, []
    for metric, label, say, tick in SMALL:
        columns = coarse(trail.columns(metric), SMALL_COLUMNS)
        if columns or metric not in RARE:
            earlier = [coarse(stretch, SMALL_COLUMNS) for stretch in trail.earlier(metric)]
            chart = draw(columns, earlier=earlier, name=label, ticks=2, say=say, tick=tick)
            small.append((metric, label, chart))
    return {
        "loss": loss_chart(curves), "small": small, "newest": newest, "width": trail.width,
        "trail_span": trail.span,
    }  # fmt: skip


def queue(now: Now) -> dict[str, Any]:
    """The queue page."""
    state = now.state
    done = documents.ended(state)
    return common(now) | {
        "entry": state.queue.entries[state.queue.processing] if state.queue.processing else None,
        "run": now.document["run"], "waiting": waiting(state), "ended": done[:ENDED_SHOWN],
        "ended_count": len(done), "duplicates": state.queue.duplicates, "priorities": PRIORITIES,
        "asked": asked(state),
    }  # fmt: skip


def crashes(now: Now, hangs: Sequence[Recorded]) -> dict[str, Any]:
    """The crashes page: the newest, equal ones together. `hangs`: the newest, oldest first."""
    found = now.state.health.crashes
    hung: dict[int, Recorded] = {}  # crash → the hang that led to it: the last one of its process before it
    for one in hangs:
        e = one.event
        assert isinstance(e, ProcessHung)
        # by pid: its own crash may be none of those kept, and the next of its role is another's
        after = (c.seq for c in found if c.seq > one.seq and (c.role, c.pid) == (e.role, e.pid))
        if (first := next(after, None)) is not None:
            hung[first] = one
    return common(now) | {
        "groups": grouped(found), "crashes_count": len(found), "hung": hung,
        "hangs": [(line(one, now.state), hang(one)) for one in reversed(hangs)],
    }  # fmt: skip


def hang(recorded: Recorded) -> dict[str, Any]:
    """A process that made no progress: for how long, in which phase, and where it stood."""
    e = recorded.event
    assert isinstance(e, ProcessHung)
    return {
        "seq": recorded.seq, "process": e.role, "phase": e.phase, "silent_seconds": e.silent_seconds,
        "limit_seconds": e.limit_seconds, "frames": list(e.frames),
    }  # fmt: skip
