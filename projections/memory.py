"""The memory of runs: what each was planned with, and how measured peaks compare with what was expected."""

from immutables import Map
from msgspec import Struct, field
from msgspec.structs import replace

from events.types import (
    MemoryMeasured,
    MemoryPlanned,
    Recorded,
    TrainingCompleted,
    TrainingFailed,
    TrainingSkipped,
)

VERSION = 1
LEAST_STEPS = 2  # with the second step the moments are there
LIKE = 2.0  # a peak says something of micro-batches up to so many times as large or small


class Planned(Struct, frozen=True, gc=False):
    """What a run is trained with, for as long as it may go on."""

    seq: int
    precision: str
    gradient_checkpointing: bool | str  # as asked for
    checkpointing: bool
    halvings: int
    tokens: int
    expected_bytes: int  # on the device, uncorrected


class Peak(Struct, frozen=True, gc=False):
    """The newest measured peak of its kind / what was expected, with micro-batches of so many tokens."""

    seq: int
    ratio: float
    tokens: int


class Memory(Struct, frozen=True, gc=False):
    plans: Map[str, Planned] = field(default_factory=Map)  # by run, of those that may go on
    peaks: Map[str, Peak] = field(default_factory=Map)  # by device, precision and checkpointing

    def ratio(self, device: str, precision: str, checkpointing: bool, tokens: int) -> float:
        """By how much to correct what is expected of such a run; 1 when nothing like it was measured."""
        peak = self.peaks.get(_kind(device, precision, checkpointing))
        if peak is None or not peak.tokens / LIKE <= tokens <= peak.tokens * LIKE:
            return 1.0
        return peak.ratio


EMPTY = Memory()


def apply(state: Memory, recorded: Recorded) -> Memory:
    match recorded.event:
        case MemoryPlanned() as e:
            planned = Planned(
                recorded.seq, e.precision, e.gradient_checkpointing, e.checkpointing, e.halvings, e.tokens,
                e.expected_bytes,
            )  # fmt: skip
            return replace(state, plans=state.plans.set(e.run, planned))
        case MemoryMeasured() as e if e.steps >= LEAST_STEPS and e.expected_bytes > 0:
            peak = Peak(recorded.seq, e.peak_bytes / e.expected_bytes, e.tokens)
            return replace(state, peaks=state.peaks.set(_kind(e.device, e.precision, e.checkpointing), peak))
        case TrainingCompleted(run=run) | TrainingFailed(run=run) | TrainingSkipped(run=run):
            return replace(state, plans=state.plans.delete(run)) if run in state.plans else state
        case _:
            return state


def _kind(device: str, precision: str, checkpointing: bool) -> str:
    return f"{device}, {precision}, {'computed again' if checkpointing else 'kept'}"
