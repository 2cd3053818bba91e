"""The kept state: where the fold of a long log may begin, so that `status` need not read years.

A cache like any other: bound to the log it was folded from (the chain's head at its position) and to the code
that folded it (the bytes of `events` and `projections`), with its own hash in front. Whatever does not fit is
passed over, and the fold begins at the first fact; the same state comes of it.
"""

import os
import typing
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
from immutables import Map

import events
import projections
from db.reserve import is_full
from db.workspace import Workspace
from events.log import Log
from projections.fold import EMPTY, State, canonical

FACTS = 20_000  # from one kept state to the next: a second of folding at most
HASH = 32  # bytes


class Kept(msgspec.Struct, frozen=True, gc=False):
    """What the file says behind its hash."""

    code: bytes
    head: bytes  # the chain's, of the commit that holds the state's newest fact
    state: State


def keep(log: Log, state: State) -> None:
    """Write the state beside the log, unless reading it back would give another one. A full disk: not now."""
    path = _path(log)
    _, head = log.commit_of(state.seq)
    data = _ENCODER.encode(Kept(_code(), head, state))
    if canonical(_DECODER.decode(data).state) != canonical(state):
        return
    partial = path.with_name(f"{path.name}.partial")
    try:
        partial.write_bytes(sha256(data).digest() + data)
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        if not is_full(error, path):
            raise


def kept(log: Log) -> State:
    """The kept state of this log; of no log, of another one, by other code or damaged: the empty one."""
    try:
        data = _path(log).read_bytes()
    except OSError:
        return EMPTY
    if sha256(data[HASH:]).digest() != data[:HASH]:
        return EMPTY
    try:
        found = _DECODER.decode(data[HASH:])
        _, head = log.commit_of(found.state.seq)
    except (msgspec.DecodeError, KeyError):  # of another shape; of a longer log
        return EMPTY
    return found.state if (found.code, found.head) == (_code(), head) else EMPTY


def forget(log: Log) -> None:
    """The next fold begins at the first fact."""
    _path(log).unlink(missing_ok=True)


def _path(log: Log) -> Path:
    return Workspace(log.path.parent).kept_state


@cache
def _code() -> bytes:
    """What decides which state comes of which facts."""
    digest = sha256(msgspec.__version__.encode())
    for package in (events, projections):
        for path in sorted(Path(package.__path__[0]).glob("*.py")):
            text = path.read_bytes()
            digest.update(b"%s %d\n" % (path.name.encode(), len(text)) + text)
    return digest.digest()


def _plain(value: Any) -> Any:
    if isinstance(value, Map):
        return dict(value)
    raise NotImplementedError(f"a state holds a {type(value).__name__}")


def _typed(kind: Any, value: Any) -> Any:
    if typing.get_origin(kind) is Map:
        named: Any = dict.__class_getitem__(typing.get_args(kind))
        return Map(msgspec.convert(value, named, dec_hook=_typed))
    raise NotImplementedError(f"a state holds a {kind}")


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_plain)
_DECODER = msgspec.msgpack.Decoder(Kept, dec_hook=_typed)
