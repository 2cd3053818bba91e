"""crashes: what died, why, and what to do about it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli.terms import USAGE, JsonOption, WorkspaceOption, fail, open_cli_log, show

if TYPE_CHECKING:
    from events.log import Log
    from projections.crashes import Crash

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As `crashes list` shows it: c57.")]

crashes_app = typer.Typer(help="Crash reports with cause and advice.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    crashes_app.callback(invoke_without_command=True)(crashes)
    crashes_app.command("list")(list_crashes)
    crashes_app.command("show")(show_crash)
    app.add_typer(crashes_app, name="crashes")


def crashes(context: typer.Context, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Every crash, newest first."""
    if context.invoked_subcommand is None:
        list_crashes(workspace, as_json)


def list_crashes(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Every crash, newest first."""
    from projections import documents

    _, log = open_cli_log(workspace)
    found = [documents.crash(one) for one in reversed(_all(log))]
    show(found, as_json, lambda _: "\n".join(map(_line, found)) or "Nothing has crashed.")


def _all(log: "Log") -> "list[Crash]":
    from events.types import ProcessCrashed
    from projections.crashes import crash

    return [crash(recorded) for recorded in log.read(0, types=(ProcessCrashed,))]


def _line(row: dict[str, Any]) -> str:
    return f"{row['id']:<7} {row['at']}  {row['process']:<8} {row['category']:<16} {row['cause']}"


def show_crash(id: IdArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """One crash with its evidence, advice, and how to see everything as it was just before."""
    from events.types import ProcessCrashed
    from projections import documents
    from projections.crashes import crash

    _, log = open_cli_log(workspace)
    number = id.removeprefix("c")
    recorded = log.get(int(number)) if number.isascii() and number.isdigit() and len(number) <= 18 else None
    if recorded is None or not isinstance(recorded.event, ProcessCrashed):
        fail(f"no crash is called {id!r}: see `evertrain crashes list`", USAGE)
    show(documents.crash_report(crash(recorded)), as_json, _text)


def _text(report: dict[str, Any]) -> str:
    lines = [
        f"{key:<13} {value}"
        for key, value in report.items()
        if value is not None and not isinstance(value, list | dict)
    ]
    lines += [f"{key:<27} {value:,}" for key, value in report["resources"].items()]
    lines += [f"  {frame}" for frame in report["frames"]]
    before = report["state_before"]
    return "\n".join([*lines, f"Just before: `evertrain replay --to {before}`"])
