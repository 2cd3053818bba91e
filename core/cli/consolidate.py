"""consolidate: a weights-only release of the model as it stands, or of the mean of its last resume points."""

from typing import Annotated

import typer

from core.cli.control import TimeoutOption, WaitOption
from core.cli.requests import ask
from core.cli.terms import JsonOption, WorkspaceOption


def register(app: typer.Typer) -> None:
    app.command("consolidate")(consolidate)


def consolidate(
    average: Annotated[int, typer.Option("--average", min=1, help="The mean of so many resume points.")] = 1,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = 600.0,
) -> None:
    """Make a bf16 release, without moments, for other machines; training goes on from what it has."""
    from events.types import ConsolidateRequested

    ask(workspace, ConsolidateRequested(average=average), as_json=as_json, wait=wait, timeout=timeout)
