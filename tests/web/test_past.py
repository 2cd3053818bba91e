"""The past: any earlier state and curve of a log, whatever was looked at before."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from events.types import AttemptStarted, Recorded
from projections.fold import EMPTY, FOLDED, Follower, fold
from projections.stations import Stations
from tests.web.shelves import rich
from tests.web.story import Story
from web.monitor import Monitor
from web.past import KEPT, Past
from web.trail import SINGLE_STEPS, Trail


def test_any_order_of_moments_gives_the_fold_up_to_each(tmp_path: Path) -> None:
    log = rich(tmp_path).log
    stations = Stations(most=4, stride=3)
    follower = Follower(lambda after: log.read(after, types=FOLDED), passed=stations.passed, every=2)
    past, head = Past(log, follower.catch_up, stations), log.head()

    for n in range(4 * KEPT):
        seq = (37 * n + 11) % (head + 1)
        assert fold(log.read(to=seq, types=FOLDED)) == past.state(seq)
        for near in (max(0, seq - 1), min(head, seq + 1), max(0, seq - 5)):
            assert fold(log.read(to=near, types=FOLDED)) == past.state(near)
    assert past.state(seq) is past.state(seq)
    assert 2 <= len(stations) <= 4
    log.close()


def test_a_step_back_reads_no_fact_again(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(20):
        story.waits(f"{n}.jsonl")
    past, head = Past(story.log, lambda: EMPTY), story.log.head()
    past.state(head)
    monkeypatch.setattr(story.log, "read", None)  # asked again, it would fail
    states = [past.state(seq) for seq in range(head - 1, 0, -1)]
    monkeypatch.undo()

    assert states == [fold(story.log.read(to=seq, types=FOLDED)) for seq in range(head - 1, 0, -1)]


def test_a_replay_at_the_head_reads_no_fact_again(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(20):
        story.waits(f"{n}.jsonl")
    monitor, again = Monitor(story.workspace), list[Recorded]()
    now, read = monitor.present.state(), monitor.log.read

    def watched(*args: Any, **more: Any) -> Iterator[Recorded]:
        for recorded in read(*args, **more):
            again.append(recorded)
            yield recorded

    monkeypatch.setattr(monitor.log, "read", watched)
    head = monitor.log.head()
    found = monitor.past.state(head)
    monitor.past.state(head - 1)
    monitor.close()

    assert now is found
    assert head - 1 == len(again)  # the moment before it has no state to begin with


def long_run(story: Story) -> Iterator[int]:
    """A run longer than what is read step by step, with a try done again; after each fact, its position."""
    story.waits("a.jsonl")
    story.starts("a.jsonl", planned=3 * SINGLE_STEPS)
    for first in range(1, 2 * SINGLE_STEPS, 500):
        yield story.steps(first, 500)
    story.tell(AttemptStarted(
        run="r1", attempt=2, step=SINGLE_STEPS, global_step=SINGLE_STEPS, checkpoint=None, device="cpu",
        dtypes={}, attention="sdpa", software={}, load_seconds=0.1,
    ))  # fmt: skip
    for first in range(SINGLE_STEPS + 1, 2 * SINGLE_STEPS, 300):
        yield story.steps(first, 300, attempt=2)


def many_runs(story: Story) -> Iterator[int]:
    """A history of short runs, with a kill and a return; after each fact, its position."""
    at = 0
    for n in range(30):
        name, run = f"{n}.jsonl", f"r{n}"
        story.waits(name)
        story.starts(name, run, 700, at)
        attempt = 1
        for first in range(1, 701, 100):
            if n % 9 == 4 and first == 401 and attempt == 1:
                attempt = 2  # killed after 400 steps, with a resume point at 200
                for again in range(201, 401, 100):
                    yield story.steps(again, 100, run, at, attempt=attempt)
            yield story.steps(first, 100, run, at, attempt=attempt)
        at = at + 700 if n != 20 else at - 2800


@pytest.mark.parametrize("tell, run", [(long_run, "r1"), (long_run, None), (many_runs, None)])
def test_a_long_curve_of_the_past_is_the_one_of_then(
    story: Story, tell: Callable[[Story], Iterator[int]], run: str | None
) -> None:
    def columns(trail: Trail) -> Any:
        trail.catch_up()
        found = [trail.columns("loss"), *trail.earlier("loss")]
        # the sums of roll-ups are rounded once, those of single steps at every step
        known = [[(c.first_step, c.last_step, c.n, c.low, c.high) for c in part] for part in found]
        return trail.width, trail.last_step, known, [[pytest.approx(c.total) for c in part] for part in found]

    seen = {}
    for n, seq in enumerate(tell(story)):
        if n % 6 == 3:
            seen[seq] = columns(Trail(story.log, run))

    assert 2 <= max(len(found[2]) for found in seen.values())
    for seq, found in seen.items():
        assert found == columns(Trail(story.log, run, seq)), seq
