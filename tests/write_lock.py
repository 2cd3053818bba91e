"""Write the locks of the project, of its tests and of its benchmarks from what is installed: `make lock`."""

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

#: Packages that other machines get in another build, or not at all, carry their marker into the lock.
MARKERS = {
    r.name: r.marker
    for r in (Requirement(line) for line in PROJECT["project"]["dependencies"])
    if r.marker is not None
}


def closure(names: list[str]) -> dict[str, str]:
    """Every distribution these need on this machine, with its version (no local part)."""
    found: dict[str, str] = {}
    todo = [Requirement(name) for name in names]
    while todo:
        wanted = todo.pop()
        name = re.sub(r"[-_.]+", "-", wanted.name).lower()
        extras = wanted.extras or {""}
        if wanted.marker is not None and not any(
            wanted.marker.evaluate({"extra": extra}) for extra in extras
        ):
            continue
        if name in found and not wanted.extras:
            continue
        installed = distribution(wanted.name)
        found[name] = installed.version.split("+")[0]
        for line in installed.requires or ():
            inner = Requirement(line)
            if inner.marker is None or any(inner.marker.evaluate({"extra": extra}) for extra in extras):
                inner.marker = None
                todo.append(inner)
    return found


def text(pins: dict[str, str], why: str) -> str:
    lines = [
        f"# {why}",
        "# Written by `make lock`; versions only: wheels differ from machine to machine, so no hashes.",
    ]
    for name, version in sorted(pins.items()):
        marker = f" ; {MARKERS[name]}" if name in MARKERS else ""
        lines.append(f"{name}=={version}{marker}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """What evertrain runs on; what its tests need besides; what its benchmarks compare it with."""
    run = closure([*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]])
    extras = PROJECT["project"]["optional-dependencies"]
    dev, bench = closure(extras["dev"]), closure(extras["bench"])
    only = {name: version for name, version in dev.items() if name not in run}
    apart = {name: version for name, version in bench.items() if name not in run | dev}
    runs_on = text(run, "What evertrain runs on, and is built with.")
    tested_with = text(only, "What the tests need besides.")
    compared_with = text(apart, "What the benchmarks compare evertrain with, and what that needs besides.")
    (ROOT / "requirements.lock").write_text(runs_on, encoding="utf-8")
    (ROOT / "tests" / "requirements.lock").write_text(tested_with, encoding="utf-8")
    (ROOT / "tests" / "bench" / "requirements.lock").write_text(compared_with, encoding="utf-8")


if __name__ == "__main__":
    main()
