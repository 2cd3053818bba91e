"""The stations: few however long the log, and the one before any position is near."""

import pytest

from projections.fold import EMPTY, fold
from projections.stations import Stations
from tests.projections.story import rich

FACTS = rich().recorded


def test_the_state_before_a_position_is_the_fold_up_to_it() -> None:
    stations, state = Stations(most=8, stride=2), EMPTY
    for fact in FACTS:
        state = fold([fact], state)
        stations.passed(state)

    for seq in range(len(FACTS) + 1):
        found = stations.before(seq)

        assert found == fold(FACTS[: found.seq])
        assert seq - 2 * len(FACTS) // 4 <= found.seq <= seq
    assert 4 <= len(stations) <= 8


@pytest.mark.parametrize("most", [2, 3, 16])
def test_there_are_never_more_than_asked_for(most: int) -> None:
    stations, state = Stations(most=most, stride=1), EMPTY
    for fact in FACTS:
        state = fold([fact], state)
        stations.passed(state)

        assert len(stations) <= most
        assert stations.before(state.seq).seq <= state.seq
