"""The application: the commands in one list."""

import typer

from core.cli import (
    backup,
    consolidate,
    control,
    crashes,
    disk,
    doctor,
    events,
    files,
    history,
    reproduce,
    start,
    versions,
)
from core.cli.terms import FAILED, REFUSED, fail

app = typer.Typer(
    name="evertrain",
    help="Keeps one small language model in training for ever: drop .jsonl files, get versions.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich would cost half of the start-up
    pretty_exceptions_enable=False,
    add_completion=False,
)


#: Each registers its commands, in the order of the help.
COMMANDS = (
    start, files, control, versions, consolidate, backup, disk, crashes, events, history, reproduce, doctor,
)  # fmt: skip


def run() -> None:
    """Register the commands and go; known refusals become one clear line and their exit code."""
    for module in COMMANDS:
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
