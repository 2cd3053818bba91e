"""The evidence of a death: the note, the end of its output, its heartbeat, the kernel's counters.

Places, classes and numbers only: no text that a row, a secret or the environment could be part of.
"""

import builtins
import contextlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.decide.crash import EXCEPTIONS, PHRASES, Raised
from db.notes import place, read_note
from db.workspace import Workspace
from events.log import Log

TAIL = 65_536  # bytes of output that are looked at
FRAME = re.compile(r'^  File "([^"\n]+)", line (\d+),? in ([\w.<>]+)$')
ERROR = re.compile(r"^([A-Za-z_][\w.]*)(?::.*)?$")
TRACE = "Traceback (most recent call last):"
RECORD = re.compile(r"^\d+,\d+,(\d+),[^;\n]*;(.*)$", re.MULTILINE)
FATAL = "(most recent call first):"
#: A thread whose innermost call is one of these has nothing to do, or waits for another.
WAITS = re.compile(r"/(threading|selectors|futures/thread)\.py:\d+ in ")


@dataclass(frozen=True, slots=True)
class Words:
    """What a process said about its end."""

    error: str | None = None
    frames: tuple[str, ...] = ()  # innermost last
    raised: tuple[Raised, ...] = ()


def words(workspace: Workspace, role: str) -> Words:
    """The note of a process, else what the interpreter wrote while it died."""
    note = read_note(workspace.notes, role)
    if note is not None:
        raised = tuple(
            Raised(tuple(each["types"]), each["errno"], tuple(each["phrases"])) for each in note["raised"]
        )
        return Words(note["error"], tuple(note["calls"]), raised)
    return output(workspace.notes / f"{role}.err")


def written(path: Path) -> int:
    """How many bytes a process's output has; 0 when there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def places(path: Path, after: int) -> tuple[str, ...]:
    """Where a process stood when it was asked, innermost last: of its threads the one that is at work.

    `after`: bytes of its output from before. That is the thread which was asked, the main one, unless that
    only waits for others. Empty: it did not answer.
    """
    lines = _lines(path, after)
    starts = [n for n, line in enumerate(lines) if line.endswith(FATAL)]
    asked = [n for n in starts if lines[n].startswith("Current thread")]
    stacks = [_fatal(lines[n + 1 :]).frames for n in (*asked, *starts)]
    working = [frames for frames in stacks if frames and not WAITS.search(frames[-1])]
    return next(iter((*working, *stacks)), ())


def _lines(path: Path, after: int = 0) -> list[str]:
    """The end of a process's output."""
    try:
        with path.open("rb") as file:
            file.seek(max(after, path.stat().st_size - TAIL))
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def output(path: Path) -> Words:
    """The last trace in a process's output: Python's own, or faulthandler's after a fatal signal."""
    lines = _lines(path)
    starts = [n for n, line in enumerate(lines) if line == TRACE or line.endswith(FATAL)]
    if not starts:
        return Words()
    current = next((n for n in starts if lines[n].startswith("Current thread")), starts[-1])
    return _python(lines[current + 1 :]) if lines[current] == TRACE else _fatal(lines[current + 1 :])


def _python(lines: list[str]) -> Words:
    inside = next((n for n, line in enumerate(lines) if not line.startswith(" ")), len(lines))
    frames = _frames(lines[:inside])
    found = ERROR.match(lines[inside]) if inside < len(lines) else None
    name = found.group(1).rpartition(".")[2] if found else ""
    kind = _class(name)
    if kind is None:  # a word that is no class we know may be anything: it is not repeated
        return Words(None, frames)
    said = tuple(phrase for phrase in PHRASES if phrase in lines[inside])
    where = f" at {frames[-1]}" if frames else ""
    return Words(f"{name}{where}", frames, (Raised(kind, None, said),))


def _class(name: str) -> tuple[str, ...] | None:
    """A class's name with those of its bases, if it is known."""
    known = getattr(builtins, name, None)
    if isinstance(known, type) and issubclass(known, BaseException):
        return tuple(cls.__name__ for cls in known.__mro__)
    return (name,) if name in EXCEPTIONS else None


def _fatal(lines: list[str]) -> Words:
    inside = next((n for n, line in enumerate(lines) if not line.startswith("  File ")), len(lines))
    return Words(None, _frames(lines[:inside][::-1]))


def _frames(lines: list[str]) -> tuple[str, ...]:
    found = [match.groups() for match in map(FRAME.match, lines) if match]
    return tuple(place(file, int(line), name) for file, line, name in found if _is_code(file))[-12:]


def _is_code(file: str) -> bool:
    """A real file, or the interpreter's own <frozen …> and <string>."""
    return file in ("<string>", "<stdin>") or file.startswith("<frozen ") or Path(file).is_file()


def phase(log: Log, role: str, pid: int) -> str | None:
    """What this very process was doing, by its last heartbeat."""
    beat = log.heartbeats().get(role)
    return str(beat["phase"]) if beat is not None and beat["pid"] == pid else None


def resources(log: Log, now: int) -> dict[str, int]:
    """Memory, disk and GPU of the newest sample, and how old it was. `now`: µs."""
    beat: dict[str, Any] = log.heartbeats().get("daemon") or {}
    if not beat.get("sample"):
        return {}
    sample = json.loads(beat["sample"])
    found: dict[str, Any] = {}
    for part in ("ram", "disk"):
        found |= {f"{part}_{key}": value for key, value in sample.get(part, {}).items()}
    for index, card in enumerate(sample.get("gpu", [])):
        found |= {f"gpu{index}_{key}": value for key, value in card.items() if key != "name"}
    found["sample_age_seconds"] = max(0, now - beat["at"]) // 1_000_000
    return {key: int(value) for key, value in found.items() if value is not None}


def kernel_lines(since: float, path: Path = Path("/dev/kmsg")) -> str:
    """What the kernel wrote after `since` (monotonic seconds); empty where this user may not read it.

    A record is `priority,number,microseconds,flags;text` (the kernel's document on dev-kmsg).
    """
    found = []
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with contextlib.suppress(OSError), open(descriptor, "rb", buffering=0) as file:
        while record := file.read(8192):  # None: nothing is left
            for stamp, text in RECORD.findall(record.decode("utf-8", "replace")):
                if int(stamp) / 1e6 >= since:
                    found.append(text)
    return "\n".join(found)


def oom_kills(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """How often the kernel has killed for want of memory: in our control group if it tells, else anywhere.

    Sources: the kernel's documents on cgroup v2 (memory.events), v1 (memory.oom_control) and /proc/vmstat.
    """
    for path in (*_group_files(proc, groups), proc / "vmstat"):
        try:
            text = path.read_text(encoding="ascii")
        except (OSError, ValueError):
            continue
        found = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
        if found:
            return int(found.group(1))
    return None


def _group_files(proc: Path, groups: Path) -> list[Path]:
    """The files of our own groups, the group's own before its root."""
    try:
        lines = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        inner = path.lstrip("/")
        if "memory" in controllers.split(","):
            memory = groups / "memory"
            found += [memory / inner / "memory.oom_control", memory / "memory.oom_control"]
        elif not controllers:
            found += [groups / inner / "memory.events", groups / "memory.events"]
    return found
