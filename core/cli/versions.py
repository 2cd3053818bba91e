"""versions: the snapshots of the model, what lies between them, and going back to one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli.control import TimeoutOption, WaitOption
from core.cli.requests import ask
from core.cli.terms import CORRUPT, REFUSED, USAGE, JsonOption, WorkspaceOption, fail, open_cli_log, show

if TYPE_CHECKING:
    from collections.abc import Callable

    from db.workspace import Workspace
    from events.types import Event
    from projections.fold import State
    from projections.versions import Version

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="v0001, or `current`.")]

versions_app = typer.Typer(help="The versions of the model.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    versions_app.callback(invoke_without_command=True)(versions)
    versions_app.command("list")(list_versions)
    versions_app.command("show")(show_version)
    versions_app.command("verify")(verify)
    versions_app.command("diff")(diff)
    versions_app.command("restore")(restore)
    versions_app.command("pin")(pin)
    versions_app.command("unpin")(unpin)
    versions_app.command("export")(export)
    app.add_typer(versions_app, name="versions")


def versions(context: typer.Context, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Every version, oldest first."""
    if context.invoked_subcommand is None:
        list_versions(workspace, as_json)


def list_versions(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Every version, oldest first."""
    from core.logbook import state_at
    from projections import documents

    _, log = open_cli_log(workspace)
    found = documents.versions(state_at(log))
    show(found, as_json, lambda _: "\n".join(map(_line, found)) or "No version yet.")


def _line(row: dict[str, Any]) -> str:
    loss = f"{row['validation_loss']:.4f}" if row["validation_loss"] is not None else "–"
    mark = "*" if row["current"] else " "
    notes = "  pinned" * row["pinned"] + "  release" * (row["kind"] == "release")
    return f"{mark} {row['id']}  step {row['global_step']:>8,}  validation {loss:>8}  {row['file']}{notes}"


def find_version(state: "State", given: str) -> "Version":
    """The version meant, or exit 2."""
    name = state.versions.current if given == "current" else given
    if name is None or name not in state.versions.versions:
        fail(f"no version is called {given!r}: see `evertrain versions list`", USAGE)
    return state.versions.versions[name]


def show_version(version: IdArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """One version: what it is, what made it, and where it stands in the tree."""
    from core.logbook import state_at
    from projections import documents

    place, log = open_cli_log(workspace)
    state = state_at(log)
    meant = find_version(state, version)
    document = documents.version(state, meant) | {
        **documents.version_tree(state, meant),
        "sources": list(meant.sources),
        "path": meant.path,
        "manifest_sha256": meant.manifest_sha256,
        "manifest": _manifest(place, meant),
    }
    show(document, as_json, _told)


def _told(document: dict[str, Any]) -> str:
    lines = [f"{key:<16} {_plain(document[key])}" for key in document if key not in ("manifest", "made_of")]
    lines += [
        f"{'made of' if n == 0 else '':<16} {part['file']}: {part['rows']} rows, {part['epochs']} epochs, "
        f"behind step {part['begin_step']}, run {part['run']}, plan {part['plan_sha256'][:12]}, "
        f"settings {part['config_sha256'][:12]} → {part['version'] or 'no version; its steps stayed'}"
        for n, part in enumerate(document["made_of"])
    ]
    return "\n".join(lines)


def _plain(value: Any) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


def _manifest(place: "Workspace", version: "Version") -> Any:
    import json

    try:
        return json.loads((place.root / version.path / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def verify(version: IdArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Read every byte of a version and compare it with its manifest, and that with the log."""
    from core.inspection import folder_problems
    from core.logbook import state_at

    place, log = open_cli_log(workspace)
    meant = find_version(state_at(log), version)
    found = folder_problems(place.root / meant.path, meant.manifest_sha256)
    document = {"id": meant.id, "ok": not found, "problems": found}
    show(document, as_json, lambda d: f"{d['id']}: " + ("; ".join(d["problems"]) or "as it was published"))
    if found:
        raise SystemExit(CORRUPT)


def diff(
    a: IdArgument, b: IdArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    """What lies between two versions: settings, data, metrics, and how far each layer moved."""
    from core.logbook import state_at
    from core.tensors import TensorsUnreadable, distances
    from projections import documents

    place, log = open_cli_log(workspace)
    state = state_at(log)
    first, second = find_version(state, a), find_version(state, b)
    document = documents.versions_diff(state, first, second)
    try:
        paths = [place.root / one.path / "model.safetensors" for one in (first, second)]
        document["layers"] = distances(*paths)
    except (OSError, TensorsUnreadable) as error:
        typer.echo(f"the weights cannot be compared: {error}", err=True)
        document["layers"] = None
    show(document, as_json, _difference)


def _difference(found: dict[str, Any]) -> str:
    lines = [f"{found['a']['id']} → {found['b']['id']}, parted at {found['common'] or 'the base model'}"]
    lines += [f"  {key}: {before!r} → {after!r}" for key, (before, after) in found["config"].items()]
    lines += [
        f"  only in {found[row['side']]['id']}: {row['file']} ({row['version']}), "
        f"{_count(row['rows'])} rows, {_count(row['trained_tokens'])} trained tokens"
        for row in found["data"]
    ]
    lines += [
        f"  {name}: {_number(pair['a'])} → {_number(pair['b'])} ({_number(pair['change'], '+')})"
        for name, pair in found["metrics"].items()
    ]
    for row in found["layers"] or ():
        lines.append(f"  {row['layer']:<40} {_number(row['distance'])}")
    return "\n".join(lines)


def _count(value: int | None) -> str:
    return f"{value:,}" if value is not None else "–"


def _number(value: float | None, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign},}" if isinstance(value, int) else f"{value:{sign}.4g}"


def _ask_about(
    given: str,
    kind: "Callable[..., Event]",
    workspace: Path | None,
    as_json: bool,
    wait: bool,
    timeout: float,
) -> None:
    """Ask for a version that the log knows; anything else is wrong usage."""
    from core.logbook import state_at

    _, log = open_cli_log(workspace)
    meant = find_version(state_at(log), given)
    log.close()
    ask(workspace, kind(version=meant.id), as_json=as_json, wait=wait, timeout=timeout)


def restore(
    version: IdArgument,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = 60.0,
) -> None:
    """Go back to a version: later files train on from it. Nothing is deleted, the queue stays."""
    from events.types import RestoreRequested

    _ask_about(version, RestoreRequested, workspace, as_json, wait, timeout)


def pin(
    version: IdArgument,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = 60.0,
) -> None:
    """Keep a version, whatever the policy says."""
    from events.types import PinRequested

    _ask_about(version, PinRequested, workspace, as_json, wait, timeout)


def unpin(
    version: IdArgument,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = 60.0,
) -> None:
    """Leave a version to the policy again."""
    from events.types import UnpinRequested

    _ask_about(version, UnpinRequested, workspace, as_json, wait, timeout)


def export(
    version: IdArgument,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="New or empty, outside the workspace.")],
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy a version to a folder, for an inference machine; verified there."""
    from core.jobs.export import ExportFailed, ExportRefused
    from core.jobs.export import export as copy
    from core.logbook import state_at

    place, log = open_cli_log(workspace)
    meant = find_version(state_at(log), version)
    try:
        told = copy(place, log, meant, folder)
    except ExportRefused as error:
        fail(str(error), REFUSED)
    except ExportFailed as error:
        fail(str(error), CORRUPT)
    document = {"id": told.version, "to": told.to, "size_bytes": told.size_bytes}
    show(document, as_json, lambda d: f"{d['id']} is in {d['to']}, {d['size_bytes']:,} bytes, verified")
