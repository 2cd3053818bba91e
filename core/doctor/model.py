"""Do settings and base model fit, each by itself and into memory?"""

from pathlib import Path

from core.config import ConfigInvalid, load
from core.decide.memory import GIB, Term, total
from core.doctor.finding import OK, PROBLEM, WARN, Finding
from core.intake.base import BaseUnusable
from core.intake.template import Renderer
from core.model.estimate import Description


def config(path: Path) -> Finding:
    """config.json as intake will read it."""
    try:
        load(path)
    except ConfigInvalid as error:
        remedy = "edit config.json; until then the settings before stay in force (docs/QUICKSTART.md, 8)"
        return Finding("config", PROBLEM, "; ".join(error.problems), remedy)
    return Finding("config", OK, "every key is known and in range")


def base_model(folder: Path, found: Description) -> Finding:
    """The base's sizes, head, types, template and special tokens."""
    dimensions = found.dimensions
    detail = [
        f"{found.architecture}, {dimensions.counted or 0:,} parameters",
        "head tied to the embedding" if dimensions.tied else "head of its own",
        f"stored as {', '.join(found.dtypes)}",
        f"eos {found.eos_token_id}, pad {found.pad_token_id}",
    ]
    try:
        renderer = Renderer(folder)
    except BaseUnusable as error:
        remedy = "copy the base model again, into a new workspace (`evertrain init --base`)"
        return Finding("base_model", PROBLEM, str(error), remedy)
    except OSError as error:
        remedy = "make the file readable, or look after the disk (`dmesg`) and copy the base model back"
        return Finding("base_model", PROBLEM, f"{error.filename}: {error.strerror}", remedy)
    detail += renderer.notes
    ends = found.eos_token_id if isinstance(found.eos_token_id, list) else [found.eos_token_id]
    if found.pad_token_id is None or found.pad_token_id in ends:
        detail.append("padding is missing, or the same token as the end")
        return Finding("base_model", PROBLEM, "; ".join(detail), "make the workspace anew: `init` mends this")
    lacking = list(dict.fromkeys(filter(None, (renderer.chat_problem, renderer.tools_problem))))
    if lacking:
        remedy = (
            "such rows are left out, plain text is trained; repair chat_template.jinja of the base, "
            "or delete it there: `evertrain init` then writes ChatML"
        )
        return Finding("base_model", WARN, "; ".join([*detail, *lacking]), remedy)
    return Finding("base_model", OK, "; ".join(detail))


def memory(terms: list[Term], device: str, device_bytes: int, host_bytes: int) -> Finding:
    """The sum against what there is: `device_bytes` of the card, `host_bytes` of main memory."""
    fits = [(total(terms, host=False), device_bytes), (total(terms, host=True), host_bytes)]
    if device == "cpu":     # one memory for all
        fits = [(total(terms), host_bytes)]
    detail = "; ".join(f"{term.name} {span(term)}" for term in (*terms, total(terms)))
    detail = f"GiB low/expected/high: {detail}"
    remedy = "lower batch_size, then max_length; or gradient_checkpointing true, precision pure_bf16"
    if any(term.low > there for term, there in fits):
        return Finding("memory", PROBLEM, f"it cannot fit. {detail}", remedy)
    if any(term.high > there for term, there in fits):
        return Finding("memory", WARN, f"it may not fit. {detail}", remedy)
    return Finding("memory", OK, detail)


def span(term: Term) -> str:
    """`low/expected/high` in GiB."""
    return "/".join(f"{size / GIB:.2f}" for size in (term.low, term.expected, term.high))
