"""A changed record is the same as `dataclasses.replace` makes, of whatever kind."""

import dataclasses

import pytest

from projections.change import replace
from projections.fold import EMPTY, PROJECTIONS, READERS, fold
from tests.projections.story import rich
from tests.projections.test_fold import matched


def test_it_is_what_dataclasses_make_for_every_field_of_every_fold() -> None:
    state = fold(rich().recorded)
    for record in (state, *(getattr(state, name) for name in PROJECTIONS)):
        for field in dataclasses.fields(record):
            changed = replace(record, **{field.name: "other"})

            assert changed == dataclasses.replace(record, **{field.name: "other"})
            assert changed != record


def test_a_field_that_is_not_there_is_refused() -> None:
    with pytest.raises(KeyError, match="nothing"):
        replace(EMPTY, nothing=1)


def test_every_fact_that_a_fold_matches_reaches_it() -> None:
    reached = {cls.__name__ for cls, readers in READERS.items() if readers}

    assert matched() == matched() & reached
    assert all(len(readers) < len(PROJECTIONS) for readers in READERS.values())
