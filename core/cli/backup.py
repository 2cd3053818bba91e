"""backup: take one now, list them, read them again, restore one elsewhere, delete what the policy lets go."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli.terms import (
    CORRUPT,
    FAILED,
    REFUSED,
    USAGE,
    JsonOption,
    WorkspaceOption,
    fail,
    open_cli_log,
    show,
)

if TYPE_CHECKING:
    from core.jobs.service import Service
    from core.store.objects import Store
    from db.workspace import Workspace
    from projections.fold import State
    from projections.storage import Backup

backup_app = typer.Typer(help="Backups, each restored on trial before it counts.", rich_markup_mode=None)

TargetOption = Annotated[
    str | None, typer.Option("--target", help="A folder or fsspec URL; else the workspace's own.")
]
IdArgument = Annotated[str | None, typer.Argument(metavar="[ID]", help="b0001; else all.")]


def register(app: typer.Typer) -> None:
    backup_app.command("now")(now)
    backup_app.command("list")(list_backups)
    backup_app.command("verify")(verify)
    backup_app.command("restore")(restore)
    backup_app.command("prune")(prune)
    app.add_typer(backup_app, name="backup")


def now(
    wait: Annotated[bool, typer.Option("--wait", help="Return when it is verified, or failed.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", help="Seconds to wait at most.")] = 3600.0,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a backup, restore it on trial, and count it if that went well."""
    from core.cli.requests import ask
    from events.types import BackupRequested

    ask(workspace, BackupRequested(), as_json=as_json, wait=wait, timeout=timeout)


# -- list ------------------------------------------------------------------------------------------------


def list_backups(
    target: TargetOption = None, workspace: WorkspaceOption = None, as_json: JsonOption = False
) -> None:
    """Every backup, oldest first; with --target those that lie there, without any workspace."""
    found = _at(target) if target is not None else _known(workspace)
    show(found, as_json, lambda _: "\n".join(map(_line, found)) or "No backup yet.")


def _known(workspace: Path | None) -> list[dict[str, Any]]:
    from projections.keeping import backup

    _, state = _state(workspace)
    return [backup(one) for one in state.storage.backups_in()]


def _at(target: str) -> list[dict[str, Any]]:
    """What the manifests themselves say, as the same document; what only the log knows is null."""
    from core.store.manifest import ManifestDamaged
    from projections.keeping import backup as document
    from projections.storage import Backup

    store, rows = _store(target), []
    for backup in store.backups():
        row: dict[str, Any] = dict.fromkeys(document(Backup(backup, target, 0, 0)))
        row |= {"id": backup, "target": target}
        try:
            manifest = store.manifest(backup)
        except ManifestDamaged as error:
            rows.append(row | {"state": "damaged", "reason": str(error)})
            continue
        rows.append(
            row
            | {
                "state": "unknown",
                "created_at": manifest.created_at,
                "seq": manifest.started[0],
                "versions": list(manifest.versions),
                "checkpoints": list(manifest.checkpoints),
                "log_seq": manifest.log[0],
                "log_hash": manifest.log[1],
                "objects": len(manifest.objects),
                "size_bytes": manifest.size_bytes,
            }
        )
    return sorted(rows, key=lambda row: row["log_seq"] or 0)


def _line(row: dict[str, Any]) -> str:
    if row["created_at"] is None:
        return f"  {row['id']}  {row['state']}: {row['reason']}"
    held = f"{len(row['versions'])} versions, {row['size_bytes']:,} bytes, log to #{row['log_seq'] or '–'}"
    return f"  {row['id']}  {row['state']:<9} {row['created_at']}  {held}" + (
        f": {row['reason']}" if row["reason"] else ""
    )


def _store(target: str, root: Path | None = None) -> "Store":
    from core.store.objects import Store
    from core.store.places import StoreFailed

    try:
        return Store.at(target, root or Path.cwd())
    except StoreFailed as error:
        fail(str(error), FAILED)


# -- verify ----------------------------------------------------------------------------------------------


def verify(backup: IdArgument = None, workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Read every byte of one backup, or of all; what is damaged is told in the log."""
    import time

    from core.decide import backup as decide
    from core.jobs.service import Service
    from core.store.checking import WHOLE, check_all
    from core.store.places import StoreFailed

    place, log = open_cli_log(workspace)
    service = Service(place, log)
    wanted = tuple(b for b in service.state().storage.backups_in(*WHOLE) if backup in (None, b.id))
    if backup is not None and not wanted:
        fail(f"no backup {backup} that could be read: see `evertrain backup list`", USAGE)
    rows: list[dict[str, Any]] = []
    began = time.monotonic()
    try:
        for one, found in check_all(place.root, wanted):
            problems = tuple(f"{name} {detail}" for name, detail in found)
            rows.append({"id": one.id, "ok": not problems, "problems": list(problems)})
            _tell(service, one, problems, round(time.monotonic() - began, 3), decide.ENDS_ON)
    except StoreFailed as error:
        fail(str(error), FAILED)
    document = {"ok": all(row["ok"] for row in rows), "backups": rows}
    show(document, as_json, _verdict)
    if not document["ok"]:
        raise SystemExit(CORRUPT)


def _tell(
    service: "Service", one: "Backup", problems: tuple[str, ...], seconds: float, rests_on: tuple[Any, ...]
) -> None:
    from core.decide.backup import examined

    service.decide(lambda state: examined(state, one.id, problems[:20], seconds), rests_on)


def _verdict(document: dict[str, Any]) -> str:
    rows = document["backups"]
    lines = [f"{row['id']}: " + ("; ".join(row["problems"]) or "as it was written") for row in rows]
    return "\n".join(lines) or "No backup to verify."


# -- restore ---------------------------------------------------------------------------------------------


def restore(
    what: Annotated[
        list[str], typer.Argument(metavar="[ID] DIR", help="Without ID the newest; DIR is new or empty.")
    ],
    target: TargetOption = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a whole workspace of a backup in an empty folder; with --target the old one may be gone."""
    from core.jobs.recovery import Occupied, Unrestorable, recover
    from core.store.manifest import ManifestDamaged
    from core.store.places import StoreFailed

    if len(what) > 2:
        fail("backup restore takes [ID] DIR", USAGE)
    given, folder = (what[0] if len(what) == 2 else None), Path(what[-1]).expanduser().resolve()
    try:
        store, backup = _meant(given, target, workspace, folder)
        manifest = recover(store, backup, folder)
    except Occupied as error:
        fail(str(error), REFUSED)
    except (Unrestorable, ManifestDamaged) as error:
        fail(f"{error}; `evertrain backup list` shows the others", CORRUPT)
    except StoreFailed as error:
        fail(str(error), FAILED)
    document = {
        "id": backup,
        "workspace": str(folder),
        "log_seq": manifest.log[0],
        "versions": list(manifest.versions),
        "files": len(manifest.files),
        "size_bytes": manifest.size_bytes,
    }
    show(document, as_json, lambda d: f"{d['workspace']}: {d['id']} restored, log to #{d['log_seq']}. "
         f"Now: evertrain serve --workspace {d['workspace']}")  # fmt: skip


def _meant(
    given: str | None, target: str | None, workspace: Path | None, folder: Path
) -> "tuple[Store, str]":
    """The store and the backup: of a target alone, or of a workspace and its log. Raises StoreFailed."""
    from core.store.checking import reach
    from core.store.manifest import ID
    from core.store.places import Folder
    from db.workspace import find

    if given is not None and not ID.fullmatch(given):
        fail(f"{given!r} is no backup's id: see `evertrain backup list`", USAGE)
    if target is not None:
        store = _store(target)
        whole = [row["id"] for row in _at(target) if row["state"] != "damaged" or row["id"] == given]
        known, place = [backup for backup in whole if given in (None, backup)], find(workspace)
    else:
        place, state = _state(workspace)
        kept = [b for b in state.storage.backups_in("verified", "damaged") if given in (None, b.id)]
        newest = [b for b in kept if b.state == "verified"] or kept
        known = [b.id for b in newest]
        store = reach(newest[-1].target, place.root, kept) if newest else _store("backups", place.root)
    if not known:
        fail(f"no such backup{f': {given}' if given else ''}: see `evertrain backup list`", USAGE)
    if place.log.exists() and folder.is_relative_to(place.root):
        fail(f"{folder} lies inside the workspace {place.root}: choose a folder elsewhere", REFUSED)
    if isinstance(store.where, Folder) and folder.is_relative_to(store.where.root.resolve()):
        fail(f"{folder} lies inside the backups themselves: choose a folder elsewhere", REFUSED)
    return store, known[-1]


def _state(workspace: Path | None) -> "tuple[Workspace, State]":
    from core.logbook import state_at

    place, log = open_cli_log(workspace)
    return place, state_at(log)


# -- prune -----------------------------------------------------------------------------------------------


def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go, and why.")] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Delete the backups that `backup.keep` lets go, and what failed ones left."""
    from core.decide import retention
    from core.decide.backup import doomed
    from core.jobs.service import Service

    place, log = open_cli_log(workspace)
    service = Service(place, log)
    keep = service.settings().backup.keep
    if dry_run:
        state = service.state()
        facts = retention.retire_backups(state, keep)
        rows = [{"id": b.id, "reason": b.reason} for b in doomed(state)]
        rows += [{"id": getattr(f, "backup", ""), "reason": getattr(f, "reason", "")} for f in facts]
        lines = [f"{row['id']}: {row['reason']}" for row in rows]
        show(rows, as_json, lambda _: "\n".join(lines) or "Nothing would go.")
        return
    service.decide(lambda state: retention.retire_backups(state, keep), retention.DEPENDS_ON)
    before = log.head()
    going = [b.id for b in doomed(service.state())]
    rows = _delete(place, service, before, going)
    show(rows, as_json, lambda _: "\n".join(map(_gone, rows)) or "Nothing to delete.")


def _delete(place: "Workspace", service: "Service", before: int, going: list[str]) -> list[dict[str, Any]]:
    """With no service running the work is done here; else the service does it at its next turn."""
    from core.jobs.backup import delete
    from db.processes import RoleLock, RoleTaken
    from events.types import BackupDeleted

    try:
        with RoleLock(place.locks, "daemon").acquire():
            reached = delete(service)
    except RoleTaken:
        return [{"id": backup, "freed_bytes": None} for backup in going]
    if not reached:
        fail("a target could not be reached; the rest is deleted by the service, or ask again", FAILED)
    done = (recorded.event for recorded in service.log.read(before, types=(BackupDeleted,)))
    return [{"id": e.backup, "freed_bytes": e.freed_bytes} for e in done if isinstance(e, BackupDeleted)]


def _gone(row: dict[str, Any]) -> str:
    if row["freed_bytes"] is None:
        return f"{row['id']} is being deleted by the service"
    return f"{row['id']} deleted, {row['freed_bytes']:,} bytes freed"
