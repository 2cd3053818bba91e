"""Do settings and base model fit, each by itself and into memory?"""

from pathlib import Path

from core.config import ConfigInvalid, load
from core.decide.memory import (
    GIB,
    Choice,
    Dimensions,
    Room,
    capacity,
    cards,
    choose,
    lacks,
    total,
    words,
)
from core.doctor.finding import OK, PROBLEM, WARN, Finding
from core.intake.base import BaseUnusable
from core.intake.template import Renderer
from core.model.estimate import Description
from core.settings import Settings
from projections.memory import Memory


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


def memory(
    dimensions: Dimensions, settings: Settings, room: Room, measured: Memory
) -> tuple[Finding, Choice]:
    """The sum that a run takes against what there is, as the trainer will choose; and on which cards."""

    def ratio(checkpointing: bool, tokens: int) -> float:
        return measured.ratio(room.device, settings.precision, checkpointing, tokens)

    chosen = choose(dimensions, settings, room, lambda times: capacity(settings, times), ratio)
    there = "the card" if room.device == "cuda" else "main memory"
    detail = [
        words(chosen.terms, chosen.ratio),
        f"{there} has {room.device_bytes / GIB:.1f} GiB",
        how(chosen),
        on_cards(dimensions, settings),
    ]
    if not dimensions.known:
        detail.append("activations of this kind of model are guessed until the first run has been measured")
    told = "; ".join(detail)
    remedy = "lower batch_size, then max_length; or gradient_checkpointing true, precision pure_bf16"
    if lacks(chosen.terms, room, "low"):
        return Finding("memory", PROBLEM, f"it cannot fit: {told}", remedy), chosen
    if lacks(chosen.terms, room, "high", ratio=chosen.ratio):
        return Finding("memory", WARN, f"it may not fit: {told}", remedy), chosen
    return Finding("memory", OK, told), chosen


def how(chosen: Choice) -> str:
    """What makes it fit."""
    activations = "computed again" if chosen.checkpointing else "kept"
    parts = f", each in {2**chosen.halvings} parts" if chosen.halvings else ""
    return f"activations {activations}, micro-batches of {chosen.tokens:,} tokens{parts}"


def on_cards(dimensions: Dimensions, settings: Settings) -> str:
    """Which CUDA cards suffice, also for who has none yet."""
    kinds: dict[str, list[int]] = {}
    fitting = cards(dimensions, settings)
    for size, chosen in fitting.items():
        kinds.setdefault(how(chosen), []).append(size)
    weights = "bf16 weights" if settings.precision == "pure_bf16" else "fp32 master weights"
    if not fitting:
        return f"no single CUDA card suffices with {weights}"
    smallest = next(iter(fitting.values()))
    sums = total(smallest.terms, host=False)
    return (
        f"CUDA cards that suffice with {weights}: "
        + "; ".join(f"{', '.join(map(str, sizes))} GB with {kind}" for kind, sizes in kinds.items())
        + f" (on the smallest {sums.expected / GIB:.2f} GiB, at most {sums.high / GIB:.2f})"
    )
