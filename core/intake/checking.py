"""The process that checks files, `python -P -m core.intake.checking`: lines of JSON in, lines of JSON out.

It may use so much memory and so much processor time for one file: what a file costs beyond that is its end,
and no other file's, nor the daemon's.
"""

import contextlib
import ctypes
import gc
import json
import math
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

from core.config import parse
from core.intake.base import BaseUnusable
from core.intake.template import Renderer
from core.intake.validate import Past, examine
from db.processes import die_with_parent, show_places_when_asked

SAY_SECONDS = 0.2  # between two answers that it is still at work
NICE = 5  # the trainer's step comes first


def main() -> int:
    """Answer until the questions end."""
    die_with_parent()
    show_places_when_asked()
    os.nice(NICE)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that prints disturbs nobody
    renderers: dict[str, Renderer] = {}
    for line in sys.stdin:
        question = json.loads(line)
        answer = _answer(question, renderers, Progress(answers))
        _give_back()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
    return 0


def _give_back() -> None:
    """What one file took must not count beside the next: the C library keeps freed memory for itself."""
    gc.collect()  # a problem's trace holds the row it was found in
    with contextlib.suppress(OSError, AttributeError):  # another library than glibc
        ctypes.CDLL(None).malloc_trim(0)


class Progress:
    """Says how far it is, now and then."""

    def __init__(self, answers: Any) -> None:
        self._answers = answers
        self._said = time.monotonic()

    def __call__(self, done: int, size: int) -> None:
        if (now := time.monotonic()) - self._said >= SAY_SECONDS:
            self._said = now
            self._answers.write(json.dumps({"read": done, "of": size}) + "\n")
            self._answers.flush()


def _answer(question: dict[str, Any], renderers: dict[str, Renderer], progress: Progress) -> dict[str, Any]:
    path, base = Path(os.fsdecode(bytes.fromhex(question["path"]))), question["base"]
    try:
        renderer = renderers.get(base) or renderers.setdefault(base, Renderer(Path(base)))
        _limit(path, question["limits"])
        report = examine(
            path,
            sha256=question["sha256"],
            renderer=renderer,
            settings=parse(question["config"]),
            store=Path(question["store"]) if question["store"] is not None else None,
            progress=progress,
            past=Past(tuple(map(Path, question["trained"])), question["tokens_per_second"]),
        )
    except BaseUnusable as error:
        return {"base_unusable": str(error)}
    except OSError as error:
        of = os.fsdecode(error.filename) if error.filename is not None else None
        return {"os_error": [error.errno, error.strerror or str(error), of]}
    except MemoryError:
        return {"failed": f"it takes more than {question['limits']['memory_bytes'] >> 20} MiB of memory"}
    return {"report": report.as_json()}


def _limit(path: Path, limits: dict[str, Any]) -> None:
    """Allow this much more memory from here on, and this much more processor time. Raises OSError."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    more = limits["cpu_seconds"] + path.stat().st_size / limits["bytes_per_second"]
    soft = math.ceil(used.ru_utime + used.ru_stime + more)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))  # in whole seconds; SIGXCPU
    pages = int(Path("/proc/self/statm").read_text().split()[5])  # data and stack
    data = pages * resource.getpagesize() + limits["memory_bytes"]
    resource.setrlimit(resource.RLIMIT_DATA, (data, resource.RLIM_INFINITY))


if __name__ == "__main__":
    sys.exit(main())
