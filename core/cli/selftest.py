"""doctor --gpu-selftest: what was only tried on a CPU, tried once on this machine's card."""

import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cli.terms import FAILED, REFUSED, fail, show

if TYPE_CHECKING:
    from core.settings import Settings
    from core.train.selftest import Check
    from db.workspace import Workspace

REMEDY = (
    "do not train on this card yet: update its driver and torch (`make install`), or train on the CPU with "
    'CUDA_VISIBLE_DEVICES=""; report the failed line with the card and the versions'
)


def selftest(given: Path | None, as_json: bool) -> None:
    """Check after check on stderr, then all of them; exit code 1 when one that training rests on failed."""
    from db.processes import holder
    from db.workspace import find

    workspace = find(given)
    os.environ.update(workspace.environment())

    from core.model.estimate import device

    if device() != "cuda":
        fail(
            "no CUDA card that torch can use, so nothing was tried: `evertrain doctor` says why (the driver, "
            "torch's build, CUDA_VISIBLE_DEVICES). On the CPU these paths are part of `make test`",
            REFUSED,
        )
    if holder(workspace.locks, "trainer"):
        fail("a trainer holds the card: `evertrain pause --wait`, and `evertrain resume` afterwards", REFUSED)
    found = list(checks(workspace))
    document = told(found)
    show(document, as_json, lines)
    if not document["ok"]:
        raise SystemExit(FAILED)


def checks(workspace: "Workspace") -> "list[Check]":
    """Every check on whatever device there is, with the workspace's precision and base where it has them."""
    from core.train.selftest import Sizes, run

    settings, base = _trained(workspace)
    found = []
    with tempfile.TemporaryDirectory(dir=workspace.temporary if base else None) as scratch:
        for check in run(Path(scratch), Sizes(), settings, base):
            print(f"evertrain: {check.name}: {check.result}", file=sys.stderr, flush=True)
            found.append(check)
    return found


def told(found: "list[Check]") -> dict[str, Any]:
    """`ok`: nothing that training rests on failed; `fast_paths`: which of them passed."""
    good = not any(check.used and check.result == "failed" for check in found)
    return {
        "ok": good,
        "fast_paths": {check.name: check.result == "passed" for check in found},
        "checks": [asdict(check) for check in found],
        "remedy": "" if good else REMEDY,
    }


def lines(document: dict[str, Any]) -> str:
    """A table."""
    rows = [f"{check['result']:<9} {check['name']:<32} {check['detail']}" for check in document["checks"]]
    return "\n".join([*rows, *([f"→ {document['remedy']}"] if document["remedy"] else [])])


def _trained(workspace: "Workspace") -> "tuple[Settings, Path | None]":
    """The settings in force and the base of a workspace; the defaults and none without one."""
    from core.config import parse
    from core.logbook import follow, open_log
    from core.settings import Settings

    if not workspace.log.exists():
        return Settings(), None
    log = open_log(workspace, "cli")
    try:
        state = follow(log).state
    finally:
        log.close()
    created = state.workspace.created
    base = workspace.root / created.base_model if created is not None else None
    return parse(state.workspace.config), base
