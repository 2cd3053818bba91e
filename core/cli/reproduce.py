"""reproduce: train a version again from the facts that made it, and compare the bits."""

import math
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import typer

from core.cli.terms import CORRUPT, FAILED, JsonOption, WorkspaceOption, fail, open_cli_log, show
from core.cli.versions import IdArgument, find_version

if TYPE_CHECKING:
    from core.train.comparison import Difference
    from core.train.reproduction import Outcome
    from projections.versions import Version

EVERY_SECONDS = 2.0


def register(app: typer.Typer) -> None:
    app.command("reproduce")(reproduce)


def reproduce(version: IdArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Train a version again in a scratch folder, from the log's facts; say where it first differs."""
    from core.logbook import state_at

    place, log = open_cli_log(workspace)
    state = state_at(log)
    meant = find_version(state, version)
    os.environ.update(place.environment())  # before torch and transformers look at it

    from core.train import reproduction
    from core.train.refusals import Refused

    began = time.monotonic()
    try:
        outcome = reproduction.reproduce(place, log, state, meant, _Progress())
    except Refused as error:
        fail(str(error), FAILED)
    show(_document(meant, outcome, time.monotonic() - began), as_json, _lines)
    if not outcome.is_identical:
        raise SystemExit(CORRUPT)


class _Progress:
    """A line on stderr when something else begins, and every other second."""

    def __init__(self) -> None:
        self._what, self._due = "", 0.0

    def __call__(self, what: str, done: int, of: int) -> None:
        now = time.monotonic()
        if what != self._what or now >= self._due:
            self._what, self._due = what, now + EVERY_SECONDS
            print(f"evertrain: {what} {done:,} of {of:,}", file=sys.stderr, flush=True)


def _document(meant: "Version", outcome: "Outcome", seconds: float) -> dict[str, Any]:
    return {
        "id": meant.id,
        "kind": meant.kind,
        "run": meant.run,
        "identical": outcome.is_identical,
        "begins_with": outcome.begins_with,
        "first_step": outcome.first_step,
        "last_step": outcome.last_step,
        "first_difference": _difference(outcome.first),
        "differing_steps": outcome.differing_steps,
        "largest_loss_difference": _plain(outcome.largest),
        "hashes": {name: {"recorded": pair[0], "now": pair[1]} for name, pair in outcome.hashes.items()},
        "surroundings": {name: {"then": p[0], "now": p[1]} for name, p in outcome.surroundings.items()},
        "seconds": seconds,
    }


def _difference(found: "Difference | None") -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "step": found.step,
        "global_step": found.global_step,
        "what": found.what,
        "recorded": _plain(found.recorded),
        "now": _plain(found.now),
    }


def _plain(value: Any) -> Any:
    """JSON knows no infinity."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _lines(found: dict[str, Any]) -> str:
    steps = found["last_step"] - found["first_step"] + 1
    begins = found["begins_with"] or "the base model"
    made = f"made again from {begins}" if found["kind"] == "release" else f"{steps} steps from {begins}"
    if found["identical"]:
        return f"{found['id']}: identical, {made}: {', '.join(found['hashes'])} have the recorded hashes"
    lines = [f"{found['id']}: NOT identical, {made}"]
    if (first := found["first_difference"]) is not None:
        where = f"step {first['step']} of {found['last_step']}" if first["step"] else "before the first step"
        lines.append(f"  first: {where}: {first['what']} {first['recorded']} recorded, {first['now']} now")
    if found["differing_steps"]:
        apart = found["largest_loss_difference"]
        lines.append(f"  {found['differing_steps']} of {steps} steps differ, their loss by {apart} at most")
    for name, pair in found["hashes"].items():
        if pair["recorded"] != pair["now"]:
            lines.append(f"  {name}: {pair['recorded'][:16]}… recorded, {pair['now'][:16]}… now")
    for name, pair in found["surroundings"].items():
        lines.append(f"  likely cause: {name} was {pair['then']}, now {pair['now']}")
    return "\n".join(lines)
