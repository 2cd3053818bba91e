"""The storage: resume points in the log's order, and what became of them."""

from events.types import CheckpointDeleted, CheckpointQuarantined, CheckpointRetired
from tests.projections.story import Tale


def test_the_newest_is_the_one_saved_last_whatever_its_number() -> None:
    tale = Tale()
    high = tale.saves("r1", 900)
    low = tale.saves("r2", 7)

    assert [low, high] == [c.path for c in tale.state.storage.usable]


def test_a_condemned_or_damaged_one_is_not_used_and_a_deleted_one_is_forgotten() -> None:
    tale = Tale()
    first, second, third, fourth = (tale.saves("r1", step) for step in (1, 2, 3, 4))
    tale.tell(CheckpointRetired(path=first, reason="old"), CheckpointRetired(path=second, reason="old"))
    tale.tell(CheckpointQuarantined(path=third, problems=("bytes",)), CheckpointDeleted(path=first))

    storage = tale.state.storage

    assert [fourth] == [c.path for c in storage.usable]
    assert [second] == [c.path for c in storage.retired]
    assert first not in storage.checkpoints


def test_a_place_that_is_written_anew_is_usable_again() -> None:
    tale = Tale()
    path = tale.saves("r1", 5)
    tale.tell(CheckpointQuarantined(path=path, problems=("bytes",)))
    tale.saves("r1", 5)

    assert [path] == [c.path for c in tale.state.storage.usable]


def test_a_word_about_an_unknown_folder_changes_nothing() -> None:
    tale = Tale()
    tale.saves("r1", 5)
    before = tale.state.storage
    tale.tell(CheckpointQuarantined(path="models/current_model/checkpoint-900", problems=("foreign",)))

    assert before == tale.state.storage
