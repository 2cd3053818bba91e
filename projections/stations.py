"""Stations: states along a log, by its order, so that every moment is folded from a near one. Pure."""

from bisect import bisect_right

from projections.fold import EMPTY, State

MOST = 256  # they share nearly everything: some 100 KB each in a log of 200,000 folded facts
STRIDE = 256  # facts from one to the next at first; doubled whenever there are too many


class Stations:
    """Filled by whoever folds the log from its beginning; another thread may ask meanwhile."""

    def __init__(self, most: int = MOST, stride: int = STRIDE) -> None:
        self._kept = [EMPTY]
        self._most, self._stride, self._since = most, stride, 0

    def __len__(self) -> int:
        return len(self._kept)

    def passed(self, state: State, facts: int = 1) -> None:
        """The fold stands at this state, so many facts behind the one before."""
        self._since += facts
        if self._since >= self._stride:
            kept, self._since = [*self._kept, state], 0
            if len(kept) > self._most:
                kept, self._stride = kept[::2], 2 * self._stride
            self._kept = kept  # at once: a reader sees the old list or the new one

    def before(self, seq: int) -> State:
        """The newest kept state that is not behind `seq`."""
        kept = self._kept
        return kept[bisect_right(kept, seq, key=lambda state: state.seq) - 1]
