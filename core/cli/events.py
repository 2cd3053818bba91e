"""events: the audit history, one fact a line."""

import json
import time
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from core.cli.terms import USAGE, JsonOption, WorkspaceOption, fail, moment, open_cli_log, show

if TYPE_CHECKING:
    from events.log import Log
    from events.types import Stored

FOLLOW_SECONDS = 0.2

events_app = typer.Typer(help="The audit history.", rich_markup_mode=None)

TypeOption = Annotated[str | None, typer.Option("--type", help="Facts of this type only.")]
StreamOption = Annotated[
    str | None, typer.Option("--stream", help="Facts of this stream: run/…, file/…, control.")
]
ActorOption = Annotated[
    str | None, typer.Option("--actor", help="Facts appended by: daemon, trainer, cli, web …")
]
RunOption = Annotated[str | None, typer.Option("--run", help="Facts of this run.")]
FileOption = Annotated[
    str | None, typer.Option("--file", help="What tells of this file (name or hash): checks, runs, versions.")
]
CorrelationOption = Annotated[
    int | None, typer.Option("--correlation", help="The story that began with this position.")
]
TextOption = Annotated[str | None, typer.Option("--text", help="Facts whose payload holds this text.")]
SinceOption = Annotated[str | None, typer.Option("--since", help="From this time or position on.")]
UntilOption = Annotated[str | None, typer.Option("--until", help="Up to this time or position.")]
AfterOption = Annotated[int | None, typer.Option("--after", help="Behind this position.")]
LimitOption = Annotated[
    int | None, typer.Option("--limit", help="At most so many; the newest without --after.")
]
FollowOption = Annotated[bool, typer.Option("--follow", help="Go on as facts come in.")]


def register(app: typer.Typer) -> None:
    events_app.callback(invoke_without_command=True)(events)
    events_app.command("show")(show_event)
    app.add_typer(events_app, name="events")


def events(
    context: typer.Context,
    kind: TypeOption = None,
    stream: StreamOption = None,
    actor: ActorOption = None,
    run: RunOption = None,
    file: FileOption = None,
    correlation: CorrelationOption = None,
    text: TextOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    after: AfterOption = None,
    limit: LimitOption = None,
    follow: FollowOption = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """The facts, one a line, oldest first; with --json one JSON object a line."""
    if context.invoked_subcommand is not None:
        return
    from events import search
    from events.codec import TYPES

    _, log = open_cli_log(workspace)
    if kind is not None and kind not in TYPES:
        fail(f"--type {kind}: no such fact; there are {', '.join(sorted(TYPES))}", USAGE)
    start = max(after or 0, moment(log, since) - 1 if since else 0)
    end = moment(log, until) if until else None
    streams = _streams(log, file, *([stream] if stream else []), *([f"run/{run}"] if run else []))
    wanted = search.Query((kind,) if kind else None, streams, actor or "", correlation, text or "")
    seen = log.head() if end is None else end
    newest = limit if after is None else None
    found = search.matching(log, wanted, start, seen, most=newest)
    for recorded in islice(found, limit):
        _print(recorded, as_json)
    while follow and end is None:
        time.sleep(FOLLOW_SECONDS)
        behind, seen = seen, log.head()
        for recorded in search.matching(log, wanted, behind, seen):
            _print(recorded, as_json)


def _streams(log: "Log", file: str | None, *named: str) -> tuple[str, ...] | None:
    """Which streams are asked for: those of the file, and all of the named; None: any."""
    asked = [{name} for name in named]
    if file is not None:
        from core.logbook import state_at
        from projections.lineage import streams

        about = set(streams(state_at(log), file))
        if not about:
            fail(f"--file {file}: no file has this name, or a hash that begins so (`evertrain queue`)", USAGE)
        asked.append(about)
    return tuple(sorted(set.intersection(*asked))) if asked else None


def _print(recorded: "Stored", as_json: bool) -> None:
    from projections import documents

    found = documents.event(recorded)
    if as_json:
        print(json.dumps(found, ensure_ascii=False), flush=True)
        return
    data = json.dumps(found["data"], ensure_ascii=False)
    shown = data if len(data) <= 120 else f"{data[:117]}…"
    print(f"#{found['seq']:<6} {found['at']} {found['actor']:<8} {found['type']:<20} {shown}", flush=True)


def show_event(
    seq: Annotated[int, typer.Argument(help="The position.")],
    steps: Annotated[bool, typer.Option("--steps", help="Step by step, one JSON object a line.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """One fact, whole, with what led to it and what it led to."""
    from events.around import around
    from projections import documents

    _, log = open_cli_log(workspace)
    recorded = log.get(seq)
    if recorded is None:
        fail(f"no fact #{seq}: the log ends at #{log.head()}", USAGE)
    if steps:
        for step in documents.steps(recorded.event):
            print(json.dumps(step))
        return
    found = documents.event(recorded) | around(log, recorded).positions
    show(found, as_json, lambda found: json.dumps(found, indent=2, ensure_ascii=False))
