"""The application: the commands in one list, and what every one of them shares."""

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

app = typer.Typer(
    name="evertrain",
    help="Keeps one small language model in training for ever: drop .jsonl files, get versions.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich would cost half of the start-up
    pretty_exceptions_enable=False,
    add_completion=False,
)


def run() -> None:
    """Register the commands and go; known refusals become one clear line and their exit code."""
    from core.cli import control, crashes, doctor, files, history, start, versions

    for module in (start, files, control, versions, crashes, history, doctor):
        module.register(app)
    try:
        app()
    except KeyboardInterrupt:
        fail("interrupted", FAILED)
    except Exception as error:
        fail(*_known(error))


def _known(error: Exception) -> tuple[str, int]:
    """Sentence and exit code of an error that is an answer; any other goes on as it is."""
    from db.engine import LogUnreadable, damage
    from db.processes import RoleTaken

    if isinstance(error, RoleTaken):
        return str(error), REFUSED
    if isinstance(error, LogUnreadable):
        return str(error), FAILED
    if isinstance(error, OSError):
        return f"{error.filename or 'the system'}: {error.strerror or error}", FAILED
    if isinstance(error, damage()):
        return f"the log could not be read or written ({error}): run `evertrain verify`", FAILED
    raise error


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
