"""The fold: all state at once, from facts; the same for now, for the past, and for decisions."""

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from itertools import islice
from types import MappingProxyType
from typing import Any

import msgspec
from immutables import Map
from msgspec import Struct
from msgspec.structs import replace

from events.codec import TYPES
from events.types import Event, Recorded, ResourcesSampled, StepsCompleted
from projections import control, health, inbox, memory, queue, run, storage, versions, workspace

#: What state folds never touch: nine facts in ten.
NUMERIC: tuple[type[Event], ...] = (StepsCompleted, ResourcesSampled)
#: What they read.
FOLDED: tuple[type[Event], ...] = tuple(cls for cls in TYPES.values() if cls not in NUMERIC)

Apply = Callable[[Any, Recorded], Any]

PROJECTIONS: Any = MappingProxyType(
    {
        "workspace": workspace,
        "inbox": inbox,
        "queue": queue,
        "run": run,
        "versions": versions,
        "storage": storage,
        "control": control,
        "health": health,
        "memory": memory,
    }
)


class State(Struct, frozen=True, gc=False):
    """Every fold's state after the fact `seq`."""

    seq: int
    at: int  # µs, of that fact
    workspace: workspace.WorkspaceState
    inbox: inbox.Inbox
    queue: queue.Queue
    run: run.Runs
    versions: versions.Versions
    storage: storage.Storage
    control: control.Control
    health: health.Health
    memory: memory.Memory


EMPTY = State(0, 0, *(module.EMPTY for module in PROJECTIONS.values()))


def _readers() -> dict[type[Event], tuple[tuple[str, Apply], ...]]:
    """Fact → the folds that may change with it: a module can match no fact that it does not import."""
    known = {name: set(map(id, vars(module).values())) for name, module in PROJECTIONS.items()}
    return {
        cls: tuple((name, module.apply) for name, module in PROJECTIONS.items() if id(cls) in known[name])
        for cls in FOLDED
    }


READERS = _readers()


def apply(state: State, recorded: Recorded) -> State:
    """One fact further."""
    changed: dict[str, Any] = {"seq": recorded.seq, "at": recorded.at}
    for name, apply_one in READERS.get(type(recorded.event), ()):
        before = getattr(state, name)
        after = apply_one(before, recorded)
        if after is not before:
            changed[name] = after
    return replace(state, **changed)


def fold(facts: Iterable[Recorded], state: State = EMPTY) -> State:
    """State = fold(apply, facts); put together once, at the end."""
    parts, last = {name: getattr(state, name) for name in PROJECTIONS}, None
    for last in facts:
        for name, apply_one in READERS.get(type(last.event), ()):
            parts[name] = apply_one(parts[name], last)
    return state if last is None else State(last.seq, last.at, **parts)


class Follower:
    """State at the head of a log; `read(after)` gives the folded facts behind a position, in order.

    `passed` sees the state `every` so many facts and at the head, and how many there were since.
    """

    def __init__(
        self,
        read: Callable[[int], Iterator[Recorded]],
        state: State = EMPTY,
        passed: Callable[[State, int], None] = lambda state, facts: None,
        every: int = 256,
    ) -> None:
        self._read, self._passed, self._every = read, passed, every
        self.state = state

    def catch_up(self) -> State:
        """Fold what is new."""
        facts = self._read(self.state.seq)
        while some := list(islice(facts, self._every)):
            self.state = fold(some, self.state)
            self._passed(self.state, len(some))
        return self.state


def plain(value: Any) -> Any:
    """A state as JSON-ready values: maps with their keys in order, so equal states give equal text."""
    if isinstance(value, Map):
        return {str(key): plain(item) for key, item in sorted(value.items(), key=lambda pair: str(pair[0]))}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in sorted(value.items(), key=lambda pair: str(pair[0]))}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    return value


def _unmapped(value: Any) -> Any:
    if isinstance(value, Map):
        return {str(key): item for key, item in value.items()}
    raise NotImplementedError(f"a state holds a {type(value).__name__}")


_CANONICAL = msgspec.json.Encoder(enc_hook=_unmapped, order="deterministic")


def canonical(state: Any) -> bytes:
    """A fold's state as JSON: the text of `plain`, many times as quickly."""
    return _CANONICAL.encode(state)


def digest(state: Any) -> bytes:
    """SHA-256 of a fold's state in canonical JSON."""
    return sha256(canonical(state)).digest()
