"""Is the record whole: the chain against every anchor, what is folded against the facts, the folders?"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from core.aside import Progress
from core.doctor.anchors import of_backups, of_versions
from core.inspection import inspect, with_remedy
from core.logbook import state_at
from core.rebuilding import Difference, compare, compare_curves
from db.engine import damage
from db.migrate import missing
from db.workspace import Workspace
from events.log import Log
from events.verify import Anchor, Problem, Verified, verify_log
from projections.fold import State


@dataclass(frozen=True, slots=True)
class Record:
    """What was read of the log, how many chain heads outside were asked, and everything that is wrong."""

    verified: Verified
    anchors: int
    problems: tuple[Problem, ...]


def examine(
    place: Workspace, log: Log, *, deep: bool, tell: Progress, anchors: Iterable[Anchor] = ()
) -> Record:
    """Look at all of it; nothing is changed. `anchors`: kept elsewhere; those of manifests are added.

    `tell(seq, head)`: how far the steps are folded again, which takes longest. `deep`: every byte of files.
    """
    folded = _fold(log)
    state = folded if isinstance(folded, State) else None
    outside = [*of_versions(place), *of_backups(place, state), *anchors]
    verified = verify_log(log.reader, outside)
    problems = list(verified.problems)
    try:
        gone = missing(log.reader)
        problems += [Problem("schema", None, None, f"{part} is gone or was changed") for part in gone]
        if state is None:
            problems.append(Problem("unfoldable", None, None, str(folded)))
        else:
            problems += _differences(log, tell)
            problems += inspect(place, state, deep=deep)
    except Exception as error:  # facts that were changed may say anything
        if not problems:
            raise
        detail = f"what follows from the facts could not be looked at ({type(error).__name__}: {error})"
        problems.append(Problem("unfoldable", None, None, detail))
    return Record(verified, len(outside), tuple(map(with_remedy, problems)))


def _fold(log: Log) -> State | str:
    """The state, or why there is none: a changed fact may be one that no state allows."""
    try:
        return state_at(log, log.head())  # from the first fact
    except Exception as error:  # every one is told as a problem
        return f"{type(error).__name__}: {error}"


def _differences(log: Log, tell: Progress) -> Iterator[Problem]:
    """What is folded and kept against what the facts say."""
    try:
        for found in (*compare(log), *compare_curves(log, tell)):
            yield Problem("projection", found.seq, found.path, _words(found))
    except damage() as error:
        yield Problem("projection", None, None, f"what was folded cannot be read: {error}")


def _words(found: Difference) -> str:
    return f"live {found.live!r}, the log says {found.folded!r}"
