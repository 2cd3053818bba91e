"""check, add, queue: files before, on their way into, and in the queue."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli.requests import ask, resolve
from core.cli.terms import FAILED, USAGE, JsonOption, WorkspaceOption, fail, open_cli_log, show

if TYPE_CHECKING:
    from core.intake.report import Report

FilesArgument = Annotated[list[Path], typer.Argument(help="Files to read.")]
NameArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="A name, or 6 or more hex digits of the hash.")
]

queue_app = typer.Typer(help="The waiting files.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    app.command("check")(check)
    app.command("add")(add)
    queue_app.callback(invoke_without_command=True)(queue)
    queue_app.command("list")(list_queue)
    queue_app.command("move")(move)
    queue_app.command("remove")(remove)
    queue_app.command("retry")(retry)
    app.add_typer(queue_app, name="queue")


def check(
    files: FilesArgument,
    example: Annotated[
        bool, typer.Option("--example", help="Show one row as it is trained, with its mask.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Validate only: the very check that intake runs."""
    from core.cli.reports import Progress, text_of
    from core.files import sha256_of
    from core.intake.base import BaseUnusable
    from core.intake.checker import Checker
    from core.jobs.validate import past
    from core.logbook import state_at

    place, log = open_cli_log(workspace)
    state = state_at(log)
    assert state.workspace.created is not None
    base, config = place.root / state.workspace.created.base_model, state.workspace.config
    reports: list[dict[str, Any]] = []
    try:
        with Checker(place.environment()) as checker:
            for path in files:
                if not path.is_file():
                    fail(f"{path} is not a file", USAGE)
                progress, sha256 = Progress(path.name), sha256_of(path)
                beside = past(state, log, place, sha256)
                report = checker.examine(
                    path, sha256=sha256, base=base, config=config, progress=progress, past=beside
                )
                progress.finish(report.rows)
                reports.append(report.as_json())
                if example:
                    reports[-1]["example"] = _example(path, report, base, config)
    except BaseUnusable as error:
        fail(str(error), FAILED)
    show(reports, as_json, lambda found: "\n".join(map(text_of, found)))
    if not all(report["verdict"] != "rejected" for report in reports):
        raise SystemExit(FAILED)


def _example(path: Path, report: "Report", base: Path, config: dict[str, Any]) -> dict[str, Any] | None:
    from core.config import parse
    from core.intake.example import example
    from core.intake.template import Renderer

    found = example(path, report.format, Renderer(base), parse(config)) if report.accepted_rows else None
    return found.as_json() if found is not None else None


def add(
    files: FilesArgument,
    priority: Annotated[str, typer.Option("--priority", help="high, normal or low.")] = "normal",
    again: Annotated[
        bool, typer.Option("--again", help="Train bytes again that were trained already.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy files into the inbox; .json arrays and .jsonl.gz are converted."""
    from core.intake.convert import NotConvertible, bring
    from core.logbook import state_at
    from projections.queue import PRIORITIES

    if priority not in PRIORITIES:
        fail(f"--priority {priority}: one of {', '.join(PRIORITIES)}", USAGE)
    place, log = open_cli_log(workspace)
    taken_in, added = state_at(log).inbox.files, []
    for path in files:
        if not path.is_file():
            fail(f"{path} is not a file", USAGE)
        try:
            brought = bring(path, place.inbox / priority)
        except NotConvertible as error:
            fail(f"{path}: {error}", FAILED)
        known = taken_in.get(brought.sha256)
        if known is not None and again:
            from events.types import RetryRequested

            brought.path.unlink()
            ask(workspace, RetryRequested(sha256=brought.sha256), as_json=False, quiet=True)
        added.append({
            "file": str(path),
            "sha256": brought.sha256,
            "path": place.relative(brought.path),
            "converted": brought.converted,
            "duplicate_of": known.name if known is not None and not again else None,
        })  # fmt: skip
    show(added, as_json, lambda found: "\n".join(map(_added, found)))


def _added(one: dict[str, Any]) -> str:
    said = f"{one['file']} → {one['path']}"
    if one["converted"]:
        said += f" ({one['converted']})"
    if one["duplicate_of"]:
        said += f"; these bytes are known as {one['duplicate_of']}: add --again to train them again"
    return said


def queue(context: typer.Context, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """The files and how each one stands."""
    if context.invoked_subcommand is None:
        list_queue(workspace, as_json)


def list_queue(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """The files and how each one stands."""
    from core.logbook import state_at
    from projections import documents

    _, log = open_cli_log(workspace)
    found = documents.queue(state_at(log))
    show(found, as_json, lambda _: "\n".join(map(_row, found)) or "The queue is empty.")


def _row(row: dict[str, Any]) -> str:
    place = f"{row['position']}." if row["position"] else ""
    said = f"{place:>4} {row['state']:<11} {row['priority'] or '':<7} {row['file']}"
    return said + (f"  ({row['reason']})" if row["reason"] else "")


def _meant(workspace: Path | None, name: str) -> str:
    from core.logbook import state_at

    _, log = open_cli_log(workspace)
    return resolve(state_at(log), name)


def move(
    file: NameArgument,
    priority: Annotated[str, typer.Argument(help="high, normal or low.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a waiting file another priority; it goes to the end of that level."""
    from events.types import MoveRequested

    fact = MoveRequested(sha256=_meant(workspace, file), priority=priority)
    ask(workspace, fact, as_json=as_json, wait=True)


def remove(file: NameArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Take a waiting file out; it stays in queue/failed."""
    from events.types import RemoveRequested

    ask(workspace, RemoveRequested(sha256=_meant(workspace, file)), as_json=as_json, wait=True)


def retry(file: NameArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Take in again a file that has ended."""
    from events.types import RetryRequested

    ask(workspace, RetryRequested(sha256=_meant(workspace, file)), as_json=as_json, wait=True)
