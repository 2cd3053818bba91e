"""The console of `serve`: every fact it shows, in words that cannot touch the terminal."""

import pytest

from core.cli.console import SHOWN, sentence
from events.types import Event, FileRejected, FileValidated
from projections.fold import EMPTY, FOLDED
from tests.facts import sha, specimen
from tests.projections.story import Tale


def test_it_shows_only_what_its_fold_has_seen() -> None:
    assert set(SHOWN) <= set(FOLDED)


@pytest.mark.parametrize("kind", SHOWN)
def test_each_is_one_line_that_says_more_than_its_type(kind: type[Event]) -> None:
    said = sentence(specimen(kind), EMPTY)

    assert kind.__name__ == said.split()[0]
    assert len(said.split()) > 1
    assert "\n" not in said


def test_a_file_is_called_by_its_name() -> None:
    tale = Tale()
    tale.queues("a.jsonl")
    facts = (specimen(kind, sha256=sha("a.jsonl")) for kind in (FileValidated, FileRejected))

    assert all(" a.jsonl: " in sentence(fact, tale.state) for fact in facts)


def test_a_hostile_reason_moves_no_cursor() -> None:
    said = sentence(specimen(FileRejected, reason="\x1b[2J\u202egnp\n"), EMPTY)

    assert said.isprintable()
