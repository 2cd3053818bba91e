"""What stands beside a fact: what led to it, what it led to, its neighbours in its stream."""

from dataclasses import dataclass
from typing import Any

from events.reading import RECORDED, Reading, unpack
from events.types import Recorded, Stored

CAUSES = 12  # steps back from a fact to what led to it
EFFECTS = 50


@dataclass(frozen=True, slots=True)
class Around:
    """Facts beside a fact."""

    causes: list[Stored]  # the nearest first, at most CAUSES
    effects: list[Recorded]  # facts that name it as their cause, at most EFFECTS, oldest first
    previous: int | None  # in its stream
    next: int | None

    @property
    def positions(self) -> dict[str, Any]:
        """All of it by position in the log."""
        return {
            "previous": self.previous,
            "next": self.next,
            "causes": [fact.seq for fact in self.causes],
            "effects": [fact.seq for fact in self.effects],
        }


def around(log: Reading, fact: Stored) -> Around:
    """What the log says stands beside a fact."""
    here = (fact.stream, fact.seq)
    before = log.reader.execute(
        "SELECT seq FROM event WHERE stream = ? AND seq < ? ORDER BY seq DESC LIMIT 1", here
    ).fetchone()
    behind = log.reader.execute(
        "SELECT seq FROM event WHERE stream = ? AND seq > ? ORDER BY seq LIMIT 1", here
    ).fetchone()
    caused = log.reader.execute(
        f"SELECT {RECORDED} FROM event WHERE causation = ? ORDER BY seq LIMIT ?", (fact.seq, EFFECTS)
    ).fetchall()
    return Around(
        _causes(log, fact), list(unpack(caused)), before[0] if before else None, behind[0] if behind else None
    )


def _causes(log: Reading, fact: Stored) -> list[Stored]:
    found: list[Stored] = []
    cause = fact.causation
    while cause is not None and len(found) < CAUSES and (led := log.get(cause)) is not None:
        found.append(led)
        # a cause lies before its effect; anything else is no log of ours, and no reason to go in a circle
        cause = led.causation if led.causation is not None and led.causation < led.seq else None
    return found
