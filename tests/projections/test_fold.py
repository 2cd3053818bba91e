"""The fold: the same state from the same facts, however they are cut."""

import ast
from pathlib import Path

import msgspec
from msgspec.structs import replace

from events.codec import TYPES
from projections.fold import EMPTY, NUMERIC, PROJECTIONS, READERS, Follower, canonical, digest, fold, plain
from tests.projections.story import rich

FACTS = rich().recorded

#: Facts that no state fold needs, and why.
IGNORED = {
    "StepsCompleted": "numbers: the curves keep them",
    "ResourcesSampled": "numbers: the newest sample is on the heartbeat",
    "ProcessRestarted": "how long it took: that the process runs again is told by ProcessStarted",
    "VersionExported": "a copy elsewhere: nothing here rests on it",
    "StepSkipped": "a warning beside the step's own numbers; nothing rests on it",
}


def matched() -> set[str]:
    """The fact types named in a `case` of any fold."""
    found = set()
    for module in PROJECTIONS.values():
        for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8"))):
            if isinstance(node, ast.MatchClass) and isinstance(node.cls, ast.Name):
                found.add(node.cls.id)
    return found & TYPES.keys()


def test_a_fold_can_be_cut_anywhere() -> None:
    whole = fold(FACTS)

    assert len(FACTS) > 100
    for cut in range(len(FACTS) + 1):
        assert whole == fold(FACTS[cut:], fold(FACTS[:cut]))


def test_the_same_facts_give_the_same_state_and_the_same_digest() -> None:
    one, other = fold(FACTS), fold(rich().recorded)

    for name in PROJECTIONS:
        assert getattr(one, name) == getattr(other, name)
        assert digest(getattr(one, name)) == digest(getattr(other, name))


def test_the_canonical_text_is_that_of_the_plain_values() -> None:
    state = fold(FACTS)

    for name in PROJECTIONS:
        part = getattr(state, name)
        assert msgspec.json.encode(plain(part)) == canonical(part)


def test_every_fold_changes_its_digest_somewhere_in_the_story() -> None:
    for name in PROJECTIONS:
        assert digest(getattr(EMPTY, name)) != digest(getattr(fold(FACTS), name))


def test_numbers_leave_every_state_untouched() -> None:
    without = [fact for fact in FACTS if not isinstance(fact.event, NUMERIC)]

    assert len(without) < len(FACTS)
    for name in PROJECTIONS:
        assert getattr(fold(without), name) == getattr(fold(FACTS), name)


def test_every_fact_is_folded_or_ignored_for_a_reason() -> None:
    assert TYPES.keys() - IGNORED.keys() == matched()


def test_every_fact_that_a_fold_matches_reaches_it() -> None:
    reached = {cls.__name__ for cls, readers in READERS.items() if readers}

    assert matched() == matched() & reached
    assert all(len(readers) < len(PROJECTIONS) for readers in READERS.values())


def test_every_folded_fact_happens_in_the_story() -> None:
    told = {type(fact.event).__name__ for fact in FACTS} | {"ServicePaused"}

    assert set() == matched() - told


def test_a_follower_reads_only_what_is_new() -> None:
    known = FACTS[:20]
    asked = []

    def read(after: int):  # type: ignore[no-untyped-def]
        asked.append(after)
        return iter([fact for fact in known if fact.seq > after])

    follower = Follower(read)
    follower.catch_up()
    known = FACTS

    assert fold(FACTS) == follower.catch_up()
    assert [0, 20] == asked


def test_plain_values_do_not_depend_on_the_order_of_insertion() -> None:
    state = fold(FACTS)
    shuffled = state.queue.entries
    for key in sorted(shuffled):
        shuffled = shuffled.delete(key).set(key, state.queue.entries[key])

    assert plain(state.queue) == plain(replace(state.queue, entries=shuffled))
    assert list(plain(state.queue)["entries"]) == sorted(state.queue.entries)
