"""disk, disk clean: where the bytes are, how long there will be room, and what can be spared."""

from typing import Annotated, Any

import typer

from core.cli.requests import ask
from core.cli.terms import JsonOption, WorkspaceOption, open_cli_log, show

disk_app = typer.Typer(help="The disk: bytes by kind, growth, clean-up.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    disk_app.callback(invoke_without_command=True)(disk)
    disk_app.command("clean")(clean)
    app.add_typer(disk_app, name="disk")


def disk(context: typer.Context, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Bytes by kind, what a clean-up would free, and for how many days there is room."""
    if context.invoked_subcommand is not None:
        return
    import shutil

    from core.jobs.disk import listing, sizes_by_kind
    from core.jobs.service import Service
    from db.usage import measure
    from events.types import ResourcesSampled
    from projections.disk import DAY_SAMPLES, document

    place, log = open_cli_log(workspace)
    service, whole = Service(place, log), shutil.disk_usage(place.root)
    found = document(
        free_bytes=whole.free,
        total_bytes=whole.total,
        config=service.state().workspace.config,
        kinds=measure(place),
        reclaimable=sizes_by_kind(listing(service)),
        samples=log.last(DAY_SAMPLES, ResourcesSampled),
    )
    show(found, as_json, _words)


def _words(found: dict[str, Any]) -> str:
    from core.decide.disk import amount

    floor, target = amount(found["floor_bytes"]), amount(found["target_bytes"])
    lines = [
        f"{amount(found['free_bytes'])} free of {amount(found['total_bytes'])}; "
        f"training waits below {floor}, cleaning begins below {target}"
    ]
    lines += [f"  {kind:<12} {amount(size):>10}" for kind, size in found["kinds"].items()]
    lines.append(f"  a clean-up would free {amount(found['reclaimable_bytes'])} (evertrain disk clean)")
    if found["growth_bytes_per_day"] is not None:
        left = f", {found['days_left']:.0f} days left" if found["days_left"] is not None else ""
        lines.append(f"  grows by {amount(found['growth_bytes_per_day'])} a day{left}")
    return "\n".join(lines)


def clean(
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go, and why.")] = False,
) -> None:
    """Remove left-overs, tokens of ended files, old logs and what policy has condemned; nothing of yours."""
    from events.types import CleanRequested

    if not dry_run:
        ask(workspace, CleanRequested(), as_json=as_json, wait=True)
        return
    from core.jobs.disk import archived_bytes, listing
    from core.jobs.service import Service

    place, log = open_cli_log(workspace)
    found = listing(Service(place, log))
    document = {
        "would_free_bytes": sum(item.size for item in found),
        "items": [{"kind": i.kind, "path": i.path, "bytes": i.size, "why": i.why} for i in found],
        "archived_bytes": archived_bytes(place),
    }
    show(document, as_json, _preview)


def _preview(document: dict[str, Any]) -> str:
    from core.decide.disk import amount

    rows = [f"  {i['kind']:<11} {amount(i['bytes']):>10}  {i['path']}: {i['why']}" for i in document["items"]]
    return "\n".join(
        [
            f"A clean-up would free {amount(document['would_free_bytes'])}.",
            *rows,
            f"Trained files in queue/recently_completed hold {amount(document['archived_bytes'])}; "
            "they are never cleaned away: delete them by hand if you do not want them.",
        ]
    )
