"""init, demo, serve: how a workspace begins and how it lives."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from core.cli.terms import FAILED, REFUSED, WorkspaceOption, fail, workspace_at

if TYPE_CHECKING:
    from core.settings import Settings
    from db.workspace import Workspace
    from projections.fold import State

PortOption = Annotated[int, typer.Option("--port", help="The monitor's port.")]
IdleOption = Annotated[bool, typer.Option("--until-idle", help="End when inbox and queue hold nothing.")]

DEMO_FOLDER = Path("demo-workspace")


def register(app: typer.Typer) -> None:
    app.command("init")(init)
    app.command("demo")(demo)
    app.command("serve")(serve)


def init(
    base: Annotated[Path, typer.Option("--base", help="A local Hugging Face model folder, or a .gguf file.")],
    workspace: WorkspaceOption = None,
) -> None:
    """Make a new workspace on a base model."""
    from core.model.base import install
    from core.model.refusal import BaseRefused
    from core.settings import Settings
    from db.processes import RoleLock
    from db.workspace import find

    place = find(workspace)
    _refuse_existing(place)
    place.lay_out()
    with RoleLock(place.locks, "watchdog"):
        _refuse_existing(place)
        try:
            model = install(base, place.models)
        except BaseRefused as error:
            fail(str(error), FAILED)
        create(place, model, Settings(), "user")
    for note in (*model.notes, *_template_notes(model.path)):
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"{place.root}: workspace on {model.name}, {model.parameters:,} parameters.")
    typer.echo(f"Now: evertrain serve --workspace {place.root}, and drop .jsonl files into {place.inbox}.")


def _template_notes(folder: Path) -> list[str]:
    """What was found about the base's tokenizer and chat template."""
    from core.intake.template import Renderer

    renderer = Renderer(folder)
    problems = [p for p in (renderer.chat_problem, renderer.tools_problem) if p is not None]
    return [*renderer.notes, *dict.fromkeys(problems)]


def _refuse_existing(place: "Workspace") -> None:
    if place.log.exists():
        fail(f"{place.root} has a log already: choose another folder; nothing was changed", REFUSED)


def create(place: "Workspace", model: object, settings: "Settings", kind: str) -> None:
    """config.json, then the first facts; the log comes last, so a folder with one is a whole workspace."""
    import json
    from importlib.metadata import version

    from core.config import changes, digest, plain
    from core.files import fsync_folder, write_atomic
    from core.jobs.publish import show_current
    from core.jobs.service import Service
    from core.logbook import open_log
    from core.model.base import Base
    from db.workspace import Workspace
    from events.types import ConfigChanged, WorkspaceCreated

    assert isinstance(model, Base)
    config = plain(settings)
    write_atomic(place.config, (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode())
    draft = Workspace(place.temporary)  # a crash leaves no log without its first fact
    draft.log.unlink(missing_ok=True)
    log = open_log(draft, "cli", create=True)
    log.append(
        WorkspaceCreated(
            kind=kind,
            base_model=place.relative(model.path),
            base_sha256=model.sha256,
            model_name=model.name,
            architecture=model.architecture,
            parameters=model.parameters,
            vocabulary_size=model.vocabulary_size,
            software=version("evertrain"),
        ),
        ConfigChanged(config=config, changes=changes({}, config), config_sha256=digest(config)),
    )
    log.close()  # the last connection: the whole log is in the one file
    draft.log.rename(place.log)
    fsync_folder(place.root)
    opened = open_log(place, "cli")
    show_current(Service(place, opened))
    opened.close()


def serve(
    host: Annotated[str, typer.Option("--host", help="The monitor's address.")] = "127.0.0.1",
    port: PortOption = 8080,
    until_idle: IdleOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Watch the inbox, train, keep, show: the service."""
    _serve(workspace_at(workspace), host, port, until_idle)


def _serve(place: "Workspace", host: str, port: int, until_idle: bool) -> None:
    from core.cli.console import Console
    from core.safety.watchdog import Watchdog

    if host not in ("127.0.0.1", "localhost", "::1"):
        fail(f"--host {host}: the monitor has no log-in yet and listens on this machine only", REFUSED)
    console = Console(place)
    watchdog = Watchdog(place, host=host, port=port, until_idle=until_idle, ready=lambda: console.begin(port))
    code = watchdog.run()
    console.end()
    raise SystemExit(code)


def demo(port: PortOption = 8080, until_idle: IdleOption = False, workspace: WorkspaceOption = None) -> None:
    """Show it all, with a model and data made on the spot."""
    import os

    from core.model.demo import drop
    from db.processes import RoleLock
    from db.workspace import find

    chosen = workspace or Path(os.environ.get("EVERTRAIN_WORKSPACE") or DEMO_FOLDER)
    place = find(chosen)
    if place.root.exists() and any(place.root.iterdir()) and not _is_demo(place):
        fail(f"{place.root} was not made by the demo: give another --workspace; nothing was changed", REFUSED)
    place.lay_out()
    with RoleLock(place.locks, "watchdog"):  # two demos at once: the second leaves all as it is
        if not place.log.exists():
            typer.echo(
                "Making a tiny model, its tokenizer, and chats from Python's own docstrings …", err=True
            )
            _make_demo(place)
        if not any(place.inbox.rglob("*.jsonl")):
            drop(place.inbox, _next_slice(place))
    _serve(place, "127.0.0.1", port, until_idle)


def _is_demo(place: "Workspace") -> bool:
    if not place.log.exists():
        # what an interrupted first start leaves: the layout without a log
        return (place.private / "demo").exists()
    return (created := _state(place).workspace.created) is not None and created.kind == "demo"


def _state(place: "Workspace") -> "State":
    from core.logbook import open_log, state_at

    log = open_log(place, "cli")
    try:
        return state_at(log)
    finally:
        log.close()


def _make_demo(place: "Workspace") -> None:
    import shutil

    from core.model.base import install
    from core.model.demo import SETTINGS, make_base

    (place.private / "demo").touch()
    draft = place.temporary / "evertrain-demo"
    for leftover in (draft, place.models / draft.name):  # of a start that was cut short
        shutil.rmtree(leftover, ignore_errors=True)
    model = install(make_base(draft, seed=0), place.models)
    shutil.rmtree(draft)
    create(place, model, SETTINGS, "demo")


def _next_slice(place: "Workspace") -> int:
    """The slice after the newest one that the log has seen."""
    import re

    names = [file.original for file in _state(place).inbox.files.values()]
    numbers = [int(found.group(1)) for name in names if (found := re.match(r"docstrings-(\d+)-", name))]
    return max(numbers, default=0)
