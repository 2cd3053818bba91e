"""Hostile input: what a person, a program or an enemy may drop, each with the end it must come to."""

from tests.hostile import contents, lines, names
from tests.hostile.case import MARKER, Case, good, written

CASES: tuple[Case, ...] = (*lines.CASES, *contents.CASES, *names.CASES)

__all__ = ["CASES", "MARKER", "Case", "good", "written"]
