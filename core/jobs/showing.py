"""Showing: the status file, and the day's log file with a line for each fact."""

import errno
import json
import os
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from core.files import write_atomic
from core.jobs.service import Service
from core.logbook import newest_steps
from events.log import now_us
from events.types import Event
from projections import status
from projections.fold import NUMERIC

UNCHANGED_SECONDS = 30.0


def document(service: Service) -> dict[str, Any]:
    """The status at this moment."""
    head, state = service.log.head(), service.state()
    heartbeats = service.log.heartbeats()
    sample = heartbeats.get("daemon", {}).get("sample")
    steps = newest_steps(service.log)
    measured = json.loads(sample) if sample else {}
    return status.document(state, steps, heartbeats, measured, now_us(), head)


class StatusFile:
    """Written when something changed, else every 30 s."""

    def __init__(self) -> None:
        self._seq, self._written = -1, -UNCHANGED_SECONDS

    def write(self, service: Service) -> None:
        head = service.log.head()
        if head == self._seq and time.monotonic() - self._written < UNCHANGED_SECONDS:
            return
        service.workspace.status_file.parent.mkdir(exist_ok=True, mode=0o700)
        text = json.dumps(document(service), indent=2, ensure_ascii=False) + "\n"
        write_atomic(service.workspace.status_file, text.encode(), durable=False)
        self._seq, self._written = head, time.monotonic()


class Journal:
    """One log file per local day; a projection like any other, from where it stopped."""

    def __init__(self, service: Service) -> None:
        self._seq = service.log.head()

    def write(self, service: Service) -> None:
        """The new facts, a line each; steps are left to the log itself."""
        lines: dict[str, list[str]] = {}
        seq = self._seq
        for recorded in service.log.read(self._seq, but=NUMERIC):
            at = datetime.fromtimestamp(recorded.at / 1e6).astimezone()
            clock = at.isoformat(timespec="milliseconds")
            line = f"{clock} #{recorded.seq} {recorded.actor} {_line(recorded.event)}"
            lines.setdefault(f"{at:%Y%m%d}", []).append(line)
            seq = recorded.seq
        service.workspace.logs.mkdir(exist_ok=True, mode=0o700)
        for day, text in lines.items():
            _add(service.workspace.logs / f"daemon_{day}.log", "".join(f"{one}\n" for one in text))
        self._seq = seq


def _add(path: Path, text: str) -> None:
    """All of it or nothing: what a full disk refused is written at the next turn."""
    with path.open("ab", buffering=0) as file:
        size = file.tell()
        try:
            if file.write(data := text.encode()) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            file.truncate(size)
            raise


def _line(event: Event) -> str:
    shown = []
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, str | int | float | bool) or value is None:
            text = str(value)
            shown.append(f"{name}={text[:12] if name.endswith('sha256') else text}")
    return f"{type(event).__name__} {' '.join(shown)}".rstrip()
