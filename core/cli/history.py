"""replay, rebuild, verify: how it was, and whether the record is whole."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli.terms import CORRUPT, USAGE, JsonOption, WorkspaceOption, fail, moment, open_cli_log, show

if TYPE_CHECKING:
    from db.workspace import Workspace
    from events.log import Log

def register(app: typer.Typer) -> None:
    app.command("replay")(replay)
    app.command("rebuild")(rebuild)
    app.command("verify")(verify)


def replay(
    to: Annotated[str, typer.Option("--to", help="A position or a time.")],
    diff: Annotated[str | None, typer.Option("--diff", help="Another moment: what differs.")] = None,
    projection: Annotated[str | None, typer.Option("--projection", help="Only this one.")] = None,
    value: Annotated[
        str | None, typer.Option("--value", help="One value (control.mode): its fact, its changes.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Everything as it was then; what changed between two moments; or one value and what changed it."""
    from core.timetravel import as_of, difference, pinned
    from projections.pins import NoSuchValue

    if value is not None and (diff is not None or projection is not None):
        fail("--value PATH stands alone: leave out --diff and --projection", USAGE)
    _, log = open_cli_log(workspace)
    seq = moment(log, to)
    if value is not None:
        try:
            show(pinned(log, value, seq), as_json, _pinned)
        except NoSuchValue as error:
            fail(f"--value {error}", USAGE)
        return
    if diff is not None:
        found = difference(log, seq, moment(log, diff))
        if projection is not None:
            found["changes"] = [c for c in found["changes"] if c["path"].split(".")[0] == projection]
        show(found, as_json, _changes)
        return
    found = as_of(log, seq)
    if projection is not None:
        if projection not in found["projections"]:
            fail(f"--projection {projection}: one of {', '.join(found['projections'])}", USAGE)
        found["projections"] = {projection: found["projections"][projection]}
    show(found, as_json, lambda whole: json.dumps(whole, indent=2, ensure_ascii=False))


def _pinned(found: dict[str, Any]) -> str:
    def told(key: str) -> str:
        return json.dumps(found[key], ensure_ascii=False)

    is_ = told("value") if found["there"] else "not there"
    by, following = found["set_by"], found["next"]
    return "\n".join([
        f"{found['path']} at #{found['seq']}: {is_}",
        f"  set by    {f'#{by}, before: ' + told('before') if by else 'no fact: so from the beginning'}",
        f"  previous  {'#' + str(found['previous']) if found['previous'] else 'none'}",
        f"  next      {f'#{following}, then: ' + told('after') if following else 'none'}",
    ])  # fmt: skip


def _changes(found: dict[str, Any]) -> str:
    lines = [f"from #{found['from']} to #{found['to']}:"]
    for change in found["changes"]:
        by = f"  (#{change['set_by']})" if change["set_by"] is not None else ""
        lines.append(
            f"  {change['path']}: {json.dumps(change['before'])} → {json.dumps(change['after'])}{by}"
        )
    return "\n".join(lines)


def rebuild(workspace: WorkspaceOption = None, as_json: JsonOption = False) -> None:
    """Fold everything again from the log, compare with what was live, replace it."""
    from core import rebuilding

    _, log = _open(workspace)
    found = rebuilding.rebuild(log, _progress)
    differing = [
        {"projection": d.projection, "seq": d.seq, "path": d.path, "live": d.live, "folded": d.folded}
        for d in found
    ]
    report = {"ok": not found, "events": log.head(), "differences": differing}
    show(report, as_json, _rebuilt)
    if found:
        raise SystemExit(CORRUPT)


def _progress(seq: int, head: int) -> None:
    typer.echo(f"curves: fact {seq:,} of {head:,}", err=True)


def _rebuilt(report: dict[str, Any]) -> str:
    lines = [
        f"{report['events']:,} facts folded again: "
        + ("no difference" if report["ok"] else "differences, mended")
    ]
    return "\n".join(
        [
            *lines,
            *(f"  {d['path']} at #{d['seq']}: {d['live']} → {d['folded']}" for d in report["differences"]),
        ]
    )


def verify(
    deep: Annotated[bool, typer.Option("--deep", help="Read every byte of all the rest, too.")] = False,
    anchors: Annotated[
        Path | None,
        typer.Option("--anchors", help="A file elsewhere: compare with its chain heads, then add this one."),
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Is the record whole: the log's chain, what is folded, the folders, every version and resume point?"""
    from dataclasses import asdict

    from core.doctor.anchors import NoAnchors, add, read
    from core.doctor.record import examine

    place, log = _open(workspace)
    try:
        elsewhere = read(anchors, place) if anchors is not None else []
    except NoAnchors as error:
        fail(str(error), USAGE)
    found = examine(place, log, deep=deep, tell=_progress, anchors=elsewhere)
    report = {
        "ok": not found.problems,
        "events": found.verified.events,
        "head_hash": found.verified.head_hash,
        "problems": [asdict(problem) for problem in found.problems],
    }
    if anchors is not None and not found.verified.problems:
        try:
            add(anchors, found.verified.events, found.verified.head_hash)
        except OSError as error:
            fail(f"{anchors} cannot be written ({error.strerror}): it lacks the present chain head", USAGE)
    show(report, as_json, lambda report: _verdict(report, found.anchors))
    if found.problems:
        raise SystemExit(CORRUPT)


def _open(workspace: Path | None) -> "tuple[Workspace, Log]":
    """A file that SQLite cannot read is a finding here, not an accident."""
    from db.engine import LogDamaged

    try:
        return open_cli_log(workspace)
    except LogDamaged as error:
        fail(str(error), CORRUPT)


def _verdict(report: dict[str, Any], anchors: int) -> str:
    lines = [f"{report['events']:,} facts, chain head {report['head_hash'][:16]}…, "
             f"{anchors} kept outside the log"]
    for problem in report["problems"]:
        at = f" #{problem['seq']}" if problem["seq"] is not None else ""
        lines.append(f"  {problem['kind']}{at} {problem['path'] or ''}: {problem['detail']}")
        lines.append(f"    → {problem['remedy']}")
    lines.append("all is as it was written" if report["ok"] else f"{len(report['problems'])} problems")
    return "\n".join(lines)
