"""How long may a process stand still in a phase before it counts as hung? Pure.

The first limits are floors, chosen before anything is known. Two phases are bound by computing, and the log
tells how long one turn of them takes in this run: step and eval are held to `FACTOR` times that, at least a
tenth of their floor. The others wait for disks and caches, whose worst day is not in the log: their floors
stay. Whatever has once taken long and come to its end may do so again, so every limit is at least twice the
longest turn seen, and `FACTOR` times what is usual: a machine ten times slower than usual is slow, not hung.
"""

from collections.abc import Mapping, Sequence
from math import ceil

from projections.fold import State

#: Seconds without progress.
FLOORS: dict[str, float] = {
    "load": 600.0,
    "tokenize": 900.0,
    "step": 900.0,
    "eval": 1800.0,
    "save": 1800.0,
    "idle": 600.0,
}
LEARNED = ("step", "eval")
LEAST = 0.1  # of its floor
ENOUGH = 50  # turns, before a floor is left
FACTOR = 20.0


def limits(
    durations: Mapping[str, Sequence[float]], floors: Mapping[str, float] = FLOORS
) -> dict[str, float]:
    """Phase → seconds without progress, from the seconds that turns of each phase took lately."""
    found = {}
    for phase, floor in floors.items():
        turns = sorted(durations.get(phase, ()))
        known = len(turns) >= ENOUGH
        usual = turns[ceil(0.99 * len(turns)) - 1] if turns else 0.0
        longest = turns[-1] if turns else 0.0
        least = floor * LEAST if known and phase in LEARNED else floor
        found[phase] = max(least, FACTOR * usual, 2 * longest)
    return found


def limit(found: Mapping[str, float], phase: str, hangs: int = 0) -> float:
    """The limit of one phase; one that is not known gets the most patience there is.

    `hangs`: how often this run was ended for standing still: each doubles the limit, so that a machine for
    which a turn takes longer than any floor gets its chance before the file is given up.
    """
    return found.get(phase, max(found.values())) * 2.0**hangs


def hangs(state: State) -> int:
    """How often, in a row, the open run stood still and got no further."""
    run = state.run.current
    if run is None or not run.tries:
        return 0
    crashes = [crash for crash in state.health.crashes if crash.run == run.id][-run.tries :]
    return sum(crash.category == "timeout" for crash in crashes)
