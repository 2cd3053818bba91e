"""Memory before and after a run: what it is trained with so that it fits, and what it then really took."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from core import ram
from core.decide.memory import GIB, Choice, Room, choose, lacks, on_device, words
from core.model.estimate import describe, device
from core.model.refusal import BaseRefused
from core.settings import Settings
from core.train.record import Recorder
from core.train.refusals import MemoryTooSmall
from events.types import MemoryMeasured, MemoryPlanned
from projections.fold import State
from projections.memory import Planned
from projections.run import Run


@dataclass(frozen=True, slots=True)
class Way:
    """How a run is trained so that it fits: all that its steps' bits depend on."""

    checkpointing: bool
    halvings: int = 0


def way_of(known: Planned | MemoryPlanned | None, asked: bool | str) -> Way:
    """As planned; without a plan (logs of before, models without known sizes) `auto` is yes on a GPU."""
    if known is not None:
        return Way(known.checkpointing, known.halvings)
    return Way(device() == "cuda" if asked == "auto" else asked is True)


def plan_for(
    recorder: Recorder,
    state: State,
    run: Run,
    base: Path,
    settings: Settings,
    largest: Callable[[int], int],
    room: Callable[[], Room],
) -> Way:
    """What the run was planned with; before its first step that is decided and told.

    `largest(h)`: tokens of the run's largest micro-batch after h halvings; `room()`: what there is. Raises
    MemoryTooSmall when not even the low estimate fits.
    """
    known = state.memory.plans.get(run.id)
    asked = (settings.precision, settings.gradient_checkpointing)
    if known is not None and (known.precision, known.gradient_checkpointing) == asked:
        return way_of(known, settings.gradient_checkpointing)
    if run.attempt and known is None:
        return way_of(None, settings.gradient_checkpointing)
    try:
        found = describe(base).dimensions
    except BaseRefused:  # of no known kind: it is trained unplanned; or broken, and loading it says how
        return way_of(None, settings.gradient_checkpointing)
    there = room()

    def ratio(checkpointing: bool, tokens: int) -> float:
        return state.memory.ratio(there.device, settings.precision, checkpointing, tokens)

    chosen = choose(found, settings, there, largest, ratio)
    if short := lacks(chosen.terms, there, "low"):
        raise MemoryTooSmall(too_small(run.id, chosen, there, short))
    recorder.append(
        MemoryPlanned(
            run=run.id,
            device=there.device,
            device_bytes=there.device_bytes,
            host_bytes=there.host_bytes,
            precision=settings.precision,
            gradient_checkpointing=settings.gradient_checkpointing,
            checkpointing=chosen.checkpointing,
            halvings=chosen.halvings,
            tokens=chosen.tokens,
            ratio=chosen.ratio,
            expected_bytes=on_device(chosen.terms, there.device).expected,
            terms={term.name: (term.low, term.expected, term.high) for term in chosen.terms},
        )
    )
    return Way(chosen.checkpointing, chosen.halvings)


def too_small(run: str, chosen: Choice, there: Room, short: int) -> str:
    """The refusal: the sum, what there is, and the remedies."""
    where = "on the GPU" if there.device == "cuda" else "in main memory"
    return (
        f"{run} does not fit: {words(chosen.terms)}, and {there.device_bytes / GIB:.2f} GiB are there "
        f"{where}: {short / GIB:.2f} GiB too few at the very least. End other programs and it is tried again "
        "by itself; or `evertrain stop`, lower max_length (or set precision to pure_bf16) in config.json, "
        "and `evertrain resume`"
    )


def room_here() -> Room:
    """What there is for this process, with what it holds already."""
    host = ram.available() + ram.held()
    if device() == "cpu":
        return Room("cpu", host, host)
    free, _ = torch.cuda.mem_get_info()
    return Room("cuda", free + torch.cuda.memory_reserved(), host)


class Peak:
    """The most memory since this was made, on the device."""

    def __init__(self) -> None:
        self._cuda = device() == "cuda"
        self._since_now = True
        if self._cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            self._since_now = ram.begin_peak()

    def measured(self, run: str, planned: Planned | None, state: State, steps: int) -> MemoryMeasured | None:
        """The fact of an attempt that did so many steps; None for a run without a plan."""
        if planned is None:
            return None
        return MemoryMeasured(
            run=run,
            attempt=state.run.runs[run].attempt,
            device="cuda" if self._cuda else "cpu",
            precision=planned.precision,
            checkpointing=planned.checkpointing,
            tokens=planned.tokens,
            steps=steps,
            peak_bytes=torch.cuda.max_memory_reserved() if self._cuda else ram.peak(),
            expected_bytes=planned.expected_bytes,
            whole_process=not self._since_now,
        )
