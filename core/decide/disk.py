"""How much space must there be, what will a run or a save take, and what may be cleaned away?"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from core.settings import Settings
from events.types import AlertCleared, AlertRaised, CleanRequested, DiskCleaned, Event, RequestRefused
from projections.disk import DAY_US, floor_bytes, target_bytes
from projections.fold import State

__all__ = ["floor_bytes", "target_bytes"]

#: The answer to a clean-up rests on these.
DEPENDS_ON: tuple[type[Event], ...] = (CleanRequested, DiskCleaned, RequestRefused)
#: Of a raised or cleared alert.
ALERTS: tuple[type[Event], ...] = (AlertRaised, AlertCleared)

LOG_DAYS = 7  # the day's log is kept so long
QUARANTINE_DAYS = 7  # so long a person may look at what was set aside
BYTES_PER_PARAMETER = {"pure_bf16": 6}  # weights and two moments; 12 with weights in fp32
BESIDE_TENSORS = 1 << 16  # bytes of a resume point: config, position, manifest
KEPT_FOR = ("validating", "waiting", "processing")  # a file in one of these needs its tokens


def amount(size: float) -> str:
    """Bytes for people, in the units of the settings."""
    for unit, whole in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if abs(size) >= whole:
            return f"{size / whole:.1f} {unit}"
    return f"{size:.0f} B"


def shortage(
    what: str, needs: float, free: float, least: float, then: str = "it goes on by itself"
) -> str | None:
    """Why `what` cannot begin: its bytes would not leave `least` free. None: it fits.

    `then`: what follows once there is space.
    """
    if free - least >= needs:
        return None
    kept = f", {amount(least)} of it to be kept free" if least else ""
    return f"{what} needs {amount(needs)}, {amount(free)} are free{kept}: make space, {then}"


def below_floor(free: float, floor: float) -> str | None:
    """Why nothing new starts; None: there is enough."""
    if free >= floor:
        return None
    return (
        f"{amount(free)} free, the floor is {amount(floor)} (disk_floor_gb): make space, it goes on by itself"
    )


def save_needs(state: State, precision: str) -> int:
    """Bytes of one resume point: as large as the newest one, else weights and moments by parameter."""
    newest = state.storage.usable[0] if state.storage.usable else None
    if newest is not None:
        return newest.size_bytes
    parameters = state.workspace.created.parameters if state.workspace.created else 0
    return parameters * BYTES_PER_PARAMETER.get(precision, 12) + BESIDE_TENSORS


def run_needs(state: State, settings: Settings, *, tokens: int, version: int) -> int:
    """Bytes a run adds at its peak: resume points up to one more than are kept, tokens and version as given.

    `tokens`: 0 when they are on disk; `version`: 0 where hard links make it free.
    """
    held = min(len(state.storage.usable), settings.checkpoints_keep)
    return (settings.checkpoints_keep + 1 - held) * save_needs(state, settings.precision) + tokens + version


def watch_floor(state: State, free: float, floor: float) -> list[Event]:
    """Below the floor nothing new starts, which is an alert until there is space again."""
    known, why = "waiting" in state.health.alerts, below_floor(free, floor)
    if why is not None and not known:
        return [AlertRaised(severity="serious", type="waiting", detail=why)]
    return [AlertCleared(type="waiting")] if known and why is None else []


def waiting(state: State, what: str, why: str | None) -> list[Event]:
    """A part of the service waits for space: an alert while there is a reason, cleared when there is none."""
    known = f"waiting:{what}" in state.health.alerts
    if why is not None and not known:
        return [AlertRaised(severity="serious", type=f"waiting:{what}", detail=why)]
    return [AlertCleared(type=f"waiting:{what}")] if known and why is None else []


# -- cleaning ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Item:
    """Something that may go. `size`: bytes that its removal gives back (what is linked elsewhere stays)."""

    kind: str  # leftovers, quarantine, tokens, logs or retired
    path: str
    size: int
    why: str


@dataclass(frozen=True, slots=True)
class Found:
    """What lies on the disk: relative path → bytes that its removal gives back."""

    leftovers: Mapping[str, int]  # begun by processes that are gone
    quarantine: Mapping[str, int]
    tokens: Mapping[str, int]
    logs: Mapping[str, int]
    retired: Mapping[str, int]  # resume points and versions that policy does not keep


def removable(state: State, found: Found, named: Mapping[str, int]) -> list[Item]:
    """What may go, cheapest first. `named`: quarantined path → µs of the newest fact that tells of it.

    Ages are differences of times in the log; what no fact tells of stays: nobody can say how old it is.
    """
    items = [
        Item("leftovers", path, size, "left by a process that is gone")
        for path, size in found.leftovers.items()
    ]
    for path, size in found.quarantine.items():
        if path in named and state.at - named[path] > QUARANTINE_DAYS * DAY_US:
            items.append(Item("quarantine", path, size, f"set aside more than {QUARANTINE_DAYS} days ago"))
    needed = needed_stores(state)
    checking = any(entry.state == "validating" for entry in state.queue.entries.values())
    known = {file.store for file in state.inbox.files.values()}
    for path, size in found.tokens.items():
        key = path.rpartition("/")[2]
        if key not in needed and (key in known or not checking):  # one being made has no fact yet
            items.append(Item("tokens", path, size, "no waiting file needs it; it can be made again"))
    items += [
        Item("logs", path, found.logs[path], f"more than {LOG_DAYS} days older than the newest")
        for path in old_logs(found.logs)
    ]
    items += [Item("retired", path, size, "policy does not keep it") for path, size in found.retired.items()]
    return items


def needed_stores(state: State) -> set[str | None]:
    """Keys of the token stores that a waiting, checked or training file goes by, or the fixed set."""
    needed = {
        state.inbox.files[entry.sha256].store
        for entry in state.queue.entries.values()
        if entry.state in KEPT_FOR
    }
    if state.run.current is not None:
        needed |= {state.run.current.store, state.run.current.fixed_store}
    if state.workspace.fixed_set is not None:
        needed.add(state.workspace.fixed_set.store)
    return needed


def old_logs(paths: Iterable[str]) -> list[str]:
    """The days' logs (daemon_YYYYMMDD.log) beyond the last week before the newest; others are strangers."""
    days = {path: day for path in paths if (day := _day(path)) is not None}
    newest = max(days.values(), default=None)
    return sorted(path for path, day in days.items() if newest is not None and (newest - day).days > LOG_DAYS)


def _day(path: str) -> date | None:
    name = path.rpartition("/")[2]
    digits = name.removeprefix("daemon_").removesuffix(".log")
    if name != f"daemon_{digits}.log" or len(digits) != 8 or not digits.isascii() or not digits.isdecimal():
        return None
    try:
        return date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return None


def cleaned(state: State, freed: Mapping[str, int], reason: str) -> list[Event]:
    """The fact of a clean-up: it answers the oldest request, and the others with nothing left to free."""
    requests = [request.seq for request in state.control.pending if request.type == "CleanRequested"]
    total = sum(freed.values())
    if not requests:
        return [DiskCleaned(freed_bytes=total, kinds=dict(freed), reason=reason)] if total else []
    first = DiskCleaned(freed_bytes=total, kinds=dict(freed), reason=reason, request=requests[0])
    return [
        first,
        *(DiskCleaned(freed_bytes=0, kinds={}, reason=reason, request=other) for other in requests[1:]),
    ]
