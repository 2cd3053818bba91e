"""Hostile input: what a person, a program or an enemy may drop, each with the end it must come to."""

from tests.hostile import contents, lines, names
from tests.hostile.case import MARKER, Case, good, written

CASES: tuple[Case, ...] = (*lines.CASES, *contents.CASES, *names.CASES)
#: Those that are dropped together.
TOGETHER = tuple(case for case in CASES if case.name not in contents.ALONE)

__all__ = ["CASES", "MARKER", "TOGETHER", "Case", "good", "written"]
