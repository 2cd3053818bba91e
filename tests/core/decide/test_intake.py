"""What becomes of a file that came in."""

from dataclasses import replace

import pytest

from core.decide.intake import Arrival, admit, is_known_source, priority_of
from events.types import FileDuplicate, FileReceived
from tests.facts import sha
from tests.projections.story import Tale

ARRIVAL = Arrival(sha("x"), "some/a.jsonl", "normal", 1000, 77, 123456789)


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        ("a.jsonl", "normal"),
        ("high/a.jsonl", "high"),
        ("low/deep/er/a.jsonl", "low"),
        ("normal/a.jsonl", "normal"),
        ("some/high/a.jsonl", "normal"),
        ("high", "normal"),
        ("High/a.jsonl", "normal"),
    ],
)
def test_the_first_folder_sets_the_priority(original: str, expected: str) -> None:
    assert expected == priority_of(original)


def test_new_bytes_are_received_under_their_plain_name() -> None:
    (fact,) = admit(Tale().state, ARRIVAL)

    assert isinstance(fact, FileReceived)
    assert ("a.jsonl", "some/a.jsonl", sha("x")) == (fact.name, fact.original, fact.sha256)


def test_other_bytes_under_a_known_name_get_a_name_of_their_own() -> None:
    tale = Tale()
    tale.receives("a.jsonl")
    (fact,) = admit(tale.state, ARRIVAL)

    assert isinstance(fact, FileReceived)
    assert f"a-{sha('x')[:8]}.jsonl" == fact.name


def test_known_bytes_are_a_duplicate_whatever_their_name_and_however_often() -> None:
    tale = Tale()
    tale.tell(*admit(tale.state, ARRIVAL))
    names = ["a.jsonl"]
    for original in ("a.jsonl", "b.jsonl", "high/b.jsonl"):
        (fact,) = admit(tale.state, replace(ARRIVAL, original=original, inode=78))
        assert isinstance(fact, FileDuplicate)
        assert "a.jsonl" == fact.same_as
        names.append(fact.name)
        tale.tell(fact)

    assert 4 == len(set(names))


@pytest.mark.parametrize("kind", ["first", "duplicate"])
def test_the_very_file_whose_removal_was_cut_short_is_recognised(kind: str) -> None:
    tale = Tale()
    tale.tell(*admit(tale.state, ARRIVAL))
    arrival = ARRIVAL
    if kind == "duplicate":
        arrival = replace(ARRIVAL, original="b.jsonl", inode=78)
        tale.tell(*admit(tale.state, arrival))

    assert is_known_source(tale.state, arrival)
    for other in (
        replace(arrival, inode=99),
        replace(arrival, mtime_ns=1),
        replace(arrival, original="c.jsonl"),
        replace(arrival, sha256=sha("y")),
        replace(arrival, changed_at=tale.state.at + 1),
    ):
        assert not is_known_source(tale.state, other)
