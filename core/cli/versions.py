"""versions: the snapshots of the model, and whether they are what they were."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli.terms import CORRUPT, USAGE, JsonOption, WorkspaceOption, fail, open_cli_log, show

if TYPE_CHECKING:
    from db.workspace import Workspace
    from projections.fold import State
    from projections.versions import Version

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="v0001, or `current`.")]

versions_app = typer.Typer(help="The versions of the model.", rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    versions_app.callback(invoke_without_command=True)(versions)
    versions_app.command("list")(list_versions)
    versions_app.command("show")(show_version)
    versions_app.command("verify")(verify)
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
    return f"{mark} {row['id']}  step {row['global_step']:>8,}  validation {loss:>8}  {row['file']}"


def _meant(state: "State", given: str) -> "Version":
    name = state.versions.current if given == "current" else given
    if name is None or name not in state.versions.versions:
        fail(f"no version is called {given!r}: see `evertrain versions list`", USAGE)
    return state.versions.versions[name]


def show_version(version: IdArgument, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """One version: what it is and what made it."""
    from core.logbook import state_at
    from projections import documents

    place, log = open_cli_log(workspace)
    state = state_at(log)
    meant = _meant(state, version)
    document = documents.version(state, meant) | {
        "path": meant.path,
        "manifest_sha256": meant.manifest_sha256,
        "manifest": _manifest(place, meant),
    }
    show(document, as_json, lambda d: "\n".join(f"{k:<16} {v}" for k, v in d.items() if k != "manifest"))


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
    meant = _meant(state_at(log), version)
    found = folder_problems(place.root / meant.path, meant.manifest_sha256)
    document = {"id": meant.id, "ok": not found, "problems": found}
    show(document, as_json, lambda d: f"{d['id']}: " + ("; ".join(d["problems"]) or "as it was published"))
    if found:
        raise SystemExit(CORRUPT)
