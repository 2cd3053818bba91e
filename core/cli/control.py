"""status, pause, resume, skip, stop, decay: how it stands, and what should happen."""

from typing import Annotated, Any

import typer

from core.cli.requests import ask
from core.cli.terms import JsonOption, WorkspaceOption, open_cli_log, show

WaitOption = Annotated[bool, typer.Option("--wait", help="Return when it has been acted on.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", help="Seconds to wait.")]


def register(app: typer.Typer) -> None:
    app.command("status")(status)
    for command in (pause, resume, skip, stop, decay):
        app.command(command.__name__)(command)


def status(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """How it stands, right now."""
    import json

    from core.logbook import newest_steps, state_at
    from events.log import now_us
    from projections.status import document

    _, log = open_cli_log(workspace)
    state, beats = state_at(log), log.heartbeats()
    sample = beats.get("daemon", {}).get("sample")
    found = document(state, newest_steps(log), beats, json.loads(sample) if sample else {}, now_us())
    show(found, as_json, _words)


def _words(found: dict[str, Any]) -> str:
    def number(value: float | None, form: str) -> str:
        return format(value, form) if value is not None else "–"

    lines = [f"{found['status']}" + (f": {found['waiting_for']}" if found["waiting_for"] else "")]
    if run := found["run"]:
        eta = f", {_left(found['eta_seconds'])}" if found["eta_seconds"] is not None else ""
        lines.append(f"  {run['file']}: step {run['step']:,} of {run['steps_planned']:,}{eta}")
    lines.append(f"  step {found['current_step']:,} in all, version {found['current_version'] or '–'}")
    lines.append(
        f"  loss {number(found['loss'], '.4f')}, validation {number(found['validation_loss'], '.4f')}, "
        f"{number(found['tokens_per_sec'], ',.0f')} tokens/s"
    )
    waiting = ", ".join(f"{count} {level}" for level, count in found["queue"].items())
    lines.append(f"  waiting: {waiting}; completed {found['completed']}, failed {found['failed']}")
    lines += [f"  {alert['severity']}: {alert['detail']}" for alert in found["alerts"]]
    return "\n".join(lines)


def _left(seconds: float) -> str:
    return "under a minute left" if seconds < 60 else f"about {seconds / 60:.0f} min left"


def pause(
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = 60.0,
) -> None:
    """Save at the next step boundary, free the GPU, keep the file."""
    from events.types import PauseRequested

    ask(workspace, PauseRequested(), as_json=as_json, wait=wait, timeout=timeout, acts_alone=False)


def resume(
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = 60.0,
) -> None:
    """Go on after a pause or a stop."""
    from events.types import ResumeRequested

    ask(workspace, ResumeRequested(), as_json=as_json, wait=wait, timeout=timeout, acts_alone=False)


def skip(
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = 60.0,
) -> None:
    """End the run of this file; the steps done stay, no version is made."""
    from core.logbook import state_at
    from events.types import SkipRequested

    _, log = open_cli_log(workspace)
    ask(workspace, SkipRequested(run=state_at(log).run.open), as_json=as_json, wait=wait, timeout=timeout)


def stop(
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = 60.0,
) -> None:
    """Save, put the file back to the head of its level, start nothing until `resume`."""
    from events.types import StopRequested

    ask(workspace, StopRequested(), as_json=as_json, wait=wait, timeout=timeout)


def decay(
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = 60.0,
) -> None:
    """Let the learning rate of the next run fall to almost nothing; with lr_schedule wsd only."""
    from events.types import DecayRequested

    ask(workspace, DecayRequested(), as_json=as_json, wait=wait, timeout=timeout)
