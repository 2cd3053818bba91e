"""versions: the snapshots of the model, and whether they are what they were."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli.app import CORRUPT, USAGE, JsonOption, WorkspaceOption, fail, open_cli_log, show

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

    _, log = open_cli_log(workspace)
    show(rows(state_at(log)), as_json, lambda found: "\n".join(map(_line, found)) or "No version yet.")


def rows(state: "State") -> list[dict[str, Any]]:
    """The versions document of CONTRACT."""
    from projections.status import iso

    return [
        {
            "id": version.id,
            "created_at": iso(version.created_at),
            "parent": version.parent,
            "run": version.run,
            "file": version.file,
            "file_sha256": version.file_sha256,
            "global_step": version.global_step,
            "loss": version.loss,
            "validation_loss": version.validation_loss,
            "size_bytes": version.size_bytes,
            "current": version.id == state.versions.current,
            "pinned": version.pinned,
            "log_seq": version.log_seq,
            "log_hash": version.log_hash,
        }
        for version in (state.versions.versions[name] for name in state.versions.order)
    ]


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

    place, log = open_cli_log(workspace)
    state = state_at(log)
    meant = _meant(state, version)
    (row,) = (row for row in rows(state) if row["id"] == meant.id)
    document = row | {
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
