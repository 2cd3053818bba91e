"""The recorder: what a running monitor shows, each look of exactly one position of the log."""

import json
import random
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
from starlette.testclient import TestClient

from core import timetravel
from core.logbook import state_at
from db.workspace import Workspace
from events.log import Log
from tests.web.looks import addresses, as_of, main
from web.app import create_app

PAUSE = 0.05  # seconds between two rounds
#: What a status document says of now alone: the clock, and what heartbeats carry.
OF_NOW = ("timestamp", "gpu", "ram", "disk", "processes")


class Recorder:
    """Looks at every page again and again; `seen`: position of the log → address → what it showed."""

    def __init__(self, root: Path, port: int) -> None:
        self.workspace, self.port = Workspace(root), port
        self.seen: dict[int, dict[str, str]] = {}
        self.error: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recorder")

    def __enter__(self) -> "Recorder":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and not self.workspace.log.exists():
                self._stop.wait(PAUSE)
            self._look()
        except BaseException as error:  # told by the test, in its own thread
            self.error = error

    def _look(self) -> None:
        if self._stop.is_set():
            return
        log = Log(self.workspace.log, "test")
        try:
            while not self._stop.wait(PAUSE):
                for address in ["/index.json", "/replay.json", *addresses(state_at(log))]:
                    self._record(log, address)
        finally:
            log.close()

    def _record(self, log: Log, address: str) -> None:
        before = log.head()
        try:
            with urllib.request.urlopen(f"http://localhost:{self.port}{address}", timeout=60) as answer:
                text = answer.read().decode()
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return  # not there yet, or no more
        if log.head() == before:
            self.seen.setdefault(before, {})[address] = text


def differences(workspace: Workspace, seen: dict[int, dict[str, str]], n: int) -> list[str]:
    """Where `n` positions, by chance but with many looks first, do not show again what was seen at them."""
    chance = random.Random(len(seen))
    places = sorted(seen, key=lambda seq: (len(seen[seq]) < 8, chance.random()))[:n]
    app, log, found = create_app(workspace), Log(workspace.log, "test"), []
    client = TestClient(app, base_url="http://localhost:8080")
    for seq in places:
        command = plain(timetravel.as_of(log, seq))
        for address, text in seen[seq].items():
            for wanted, got in _pairs(address, text, client.get(as_of(address, seq)).text, command):
                if wanted != got:
                    found.append(f"#{seq} {address}: {first_difference(wanted, got)}")
    app.state.monitor.close()
    log.close()
    return found


def _pairs(address: str, seen: str, then: str, command: dict[str, Any]) -> list[tuple[Any, Any]]:
    """What was seen beside what the page of then says, and `evertrain replay`."""
    if not address.endswith(".json"):
        return [(main(seen), main(then))]
    was = _lasting(json.loads(seen))
    told = command if address == "/replay.json" else command["projections"]["status"]
    return [(was, _lasting(json.loads(then))), (was, _lasting(told))]


def _lasting(document: dict[str, Any]) -> dict[str, Any]:
    """A status or replay document without what it says of now alone."""
    if "projections" in document:
        inner = document["projections"]
        return document | {"projections": inner | {"status": _lasting(inner["status"])}}
    return {key: value for key, value in document.items() if key not in OF_NOW}


def plain(document: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(document))


def first_difference(wanted: Any, got: Any) -> str:
    if isinstance(wanted, dict) and isinstance(got, dict):
        keys = [key for key in wanted if wanted[key] != got.get(key)]
        return "; ".join(f"{key}: live {wanted[key]!r:.300}, then {got.get(key)!r:.300}" for key in keys)
    place = next((n for n, (a, b) in enumerate(zip(wanted, got, strict=False)) if a != b), 0)
    near = slice(max(0, place - 60), place + 160)
    return f"live …{wanted[near]}…, then …{got[near]}…"
