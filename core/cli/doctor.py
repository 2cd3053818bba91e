"""doctor: is everything here fit for training, and what is to be done where it is not?"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.cli.terms import FAILED, JsonOption, WorkspaceOption, show

if TYPE_CHECKING:
    from core.decide.memory import Choice, Term

MARKS = {"ok": "ok     ", "warn": "warn   ", "problem": "PROBLEM"}


def register(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The monitor's port.")] = 8080,
    gpu_selftest: Annotated[
        bool, typer.Option("--gpu-selftest", help="Try the fast paths on the CUDA card instead: a minute.")
    ] = False,
    workspace: WorkspaceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Examine machine, software, workspace, settings and base model; each finding with its remedy."""
    if gpu_selftest:
        from core.cli.selftest import selftest

        return selftest(workspace, as_json)
    from dataclasses import asdict

    from core.doctor.examination import examine
    from core.doctor.finding import is_fit
    from db.workspace import find

    found = examine(find(workspace), port)
    fit = is_fit(found.findings)
    document = {
        "ok": fit,
        "findings": [asdict(finding) for finding in found.findings],
        "memory_bytes": {term.name: _sizes(term) for term in found.memory.terms} if found.memory else {},
        "training": _chosen(found.memory) if found.memory else {},
    }
    show(document, as_json, _lines)
    if not fit:
        raise SystemExit(FAILED)


def _sizes(term: "Term") -> dict[str, int]:
    return {"low": term.low, "expected": term.expected, "high": term.high}


def _chosen(chosen: "Choice") -> dict[str, Any]:
    """What the trainer would choose on this machine."""
    return {
        "gradient_checkpointing": chosen.checkpointing,
        "parts_of_a_micro_batch": 2**chosen.halvings,
        "tokens_of_a_part": chosen.tokens,
        "corrected_by": chosen.ratio,
    }


def _lines(document: dict[str, Any]) -> str:
    lines = []
    for finding in document["findings"]:
        lines.append(f"{MARKS[finding['ok']]} {finding['name']:<13} {finding['detail']}")
        if finding["remedy"]:
            lines.append(f"{'':<22}→ {finding['remedy']}")
    return "\n".join(lines)
