"""Is the software new enough? Below these floors lie known holes or lost data."""

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, version

from core.doctor.finding import OK, PROBLEM, Finding

PYTHON = (3, 11)

#: Distribution → least version, and what is wrong below it.
FLOORS = {
    "transformers": ((5, 3), "a model folder can run code"),
    "torch": ((2, 10), "reading a weights file can run code"),
    "jinja2": ((3, 1, 6), "a chat template can leave its sandbox"),
    "starlette": ((1, 3), "a Host header can change what a request means"),
}


def python(running: tuple[int, ...] = sys.version_info[:3]) -> Finding:
    """Python itself."""
    text = ".".join(map(str, running))
    if running < PYTHON:
        least = ".".join(map(str, PYTHON))
        remedy = f"install Python {least} or newer, then `make install`"
        return Finding("python", PROBLEM, f"Python {text}", remedy)
    return Finding("python", OK, f"Python {text}, {platform.system()} {platform.machine()}")


def installed() -> dict[str, str | None]:
    """Distribution → version; None: not installed."""
    found: dict[str, str | None] = {}
    for name in FLOORS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def libraries(versions: dict[str, str | None]) -> Finding:
    """Each library against its floor."""
    wrong = []
    for name, (floor, why) in FLOORS.items():
        text = versions.get(name)
        least = ".".join(map(str, floor))
        if text is None:
            wrong.append(f"{name} is not installed")
        elif numbers(text) < floor:
            wrong.append(f"{name} {text} is older than {least}: {why}")
    if wrong:
        return Finding("libraries", PROBLEM, "; ".join(wrong), "`make install` in evertrain's folder")
    return Finding("libraries", OK, ", ".join(f"{name} {text}" for name, text in versions.items()))


def numbers(text: str) -> tuple[int, ...]:
    """`2.13.0+cpu` → (2, 13, 0)."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, found.group().split("."))) if found else ()


def sqlite() -> Finding:
    """The SQLite in use, and whether it can lose commits."""
    from db.engine import LogUnreadable, driver

    try:
        module = driver()
    except LogUnreadable as error:
        return Finding("sqlite", PROBLEM, str(error), "install pysqlite3 0.6.1 or newer: `make install`")
    return Finding("sqlite", OK, f"SQLite {module.sqlite_version} ({module.__name__}), no WAL-reset race")
