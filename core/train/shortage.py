"""A step that does not fit into memory: how it is recognised, and what is said when nothing helps."""

import re
from dataclasses import dataclass

import torch

from core.decide.crash import PHRASES
from core.decide.halving import MOST
from core.train.refusals import DoesNotFit

_SAID = tuple(phrase for phrase, kind in PHRASES.items() if kind in ("cuda_oom", "memory_error"))
_ASKED = re.compile(r"tried to allocate ([\d.]+) ?(bytes|[KMGT]iB)", re.IGNORECASE)
_UNITS = {"bytes": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40}
_REMEDY = "lower max_length, set gradient_checkpointing to true, or free memory; then `evertrain queue retry`"


@dataclass(frozen=True, slots=True)
class Shortage:
    """What did not fit. `asked`: bytes, where the error names them."""

    step: int
    rows: int  # of the micro-batch
    tokens: int
    asked: int | None

    def refusal(self) -> DoesNotFit:
        """The end of it: one row alone, or the last halving, was still too much."""
        asked = f" ({self.asked:,} bytes were asked for)" if self.asked is not None else ""
        if self.rows == 1:
            return DoesNotFit(
                f"step {self.step}: one row of {self.tokens:,} tokens does not fit into memory{asked}: "
                f"{_REMEDY}"
            )
        return DoesNotFit(
            f"step {self.step}: {self.tokens:,} tokens do not fit into memory{asked}, after the micro-batch "
            f"was halved {MOST} times: {_REMEDY}"
        )


def is_shortage(error: BaseException) -> bool:
    """Was there no memory? torch says so by a class on a GPU and by words on a CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(phrase in str(error) for phrase in _SAID)


def asked(error: BaseException) -> int | None:
    """How many bytes the error says were asked for; its words are not kept."""
    found = _ASKED.search(str(error))
    return int(float(found[1]) * _UNITS[found[2].lower()]) if found else None
