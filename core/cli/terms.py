"""What every command shares: its options, its exit codes, and how it answers."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from db.workspace import Workspace
    from events.log import Log

FAILED, USAGE, REFUSED, CORRUPT = 1, 2, 3, 4

WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", help="The workspace; else $EVERTRAIN_WORKSPACE, else ./workspace."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def fail(message: str, code: int = FAILED) -> NoReturn:
    """One line on stderr, and out."""
    print(f"evertrain: {message}", file=sys.stderr)
    raise SystemExit(code)


def show(document: Any, as_json: bool, text: Callable[[Any], str]) -> None:
    """A result for a person, or for a program."""
    print(json.dumps(document, indent=2, ensure_ascii=False) if as_json else text(document))


def workspace_at(given: Path | None) -> "Workspace":
    """The workspace of a command, which must have a log."""
    from db.workspace import find

    workspace = find(given)
    if not workspace.log.exists():
        fail(f"{workspace.root} is no workspace: make one with `evertrain init --base DIR`", USAGE)
    return workspace


def open_cli_log(given: Path | None) -> "tuple[Workspace, Log]":
    """Workspace and log of a command; what it appends is signed `cli`."""
    from core.logbook import open_log

    workspace = workspace_at(given)
    return workspace, open_log(workspace, "cli")


def moment(log: "Log", given: str) -> int:
    """A position or a time, as a position of the log. Exits with words where it is neither."""
    from core.timetravel import position
    from projections.moments import NoSuchMoment

    try:
        return position(log, given)
    except NoSuchMoment as error:
        fail(str(error), USAGE)
