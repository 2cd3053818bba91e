"""The kept state: a fold that begins with it ends where the fold of everything does, or it is passed over."""

import math
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace

from core import kept
from core.jobs.service import Service
from core.jobs.snapshots import Snapshots
from core.logbook import follow, open_log, state_at
from core.rebuilding import compare, rebuild
from db.workspace import Workspace
from events.log import Log
from events.types import PauseRequested, ResumeRequested, ValidationMeasured
from projections.fold import EMPTY, FOLDED, fold
from tests.facts import specimen
from tests.projections.story import rich


@pytest.fixture
def told(service: Service) -> Service:
    """The rich story behind a workspace's own first facts, fact by fact."""
    for fact in rich().facts:
        service.log.append(fact)
    return service


@pytest.fixture
def path(told: Service) -> Path:
    """Where its state is kept, as of a moment before the newest facts."""
    kept.keep(told.log, state_at(told.log, told.log.head() - 5))
    return told.workspace.kept_state


def test_kept_at_any_position_the_fold_of_the_rest_ends_in_the_same_state(told: Service) -> None:
    head = told.log.head()
    whole = state_at(told.log, head)
    for seq in range(1, head + 1):
        state = state_at(told.log, seq)
        kept.keep(told.log, state)

        assert state == kept.kept(told.log)
        assert state == follow(told.log).state
        assert whole == state_at(told.log)


def test_numbers_that_json_cannot_hold_are_kept(told: Service) -> None:
    run = told.state().run.latest
    told.log.append(specimen(ValidationMeasured, run=run, kind="holdout", loss=math.nan, train_loss=math.inf))
    kept.keep(told.log, state_at(told.log, told.log.head()))

    assert "loss=nan, train_loss=inf" in repr(kept.kept(told.log).run)
    assert repr(told.state().run.runs[run]) == repr(kept.kept(told.log).run.runs[run])


def test_a_long_log_is_not_folded_from_its_first_fact(told: Service, path: Path) -> None:
    asked = []
    read = told.log.read

    def noted(after: int = 0, **more: object) -> object:
        asked.append(after)
        return read(after, **more)  # type: ignore[arg-type]

    told.log.read = noted  # type: ignore[method-assign,assignment]

    assert state_at(told.log, told.log.head()) == state_at(told.log)
    assert [0, kept.kept(told.log).seq] == asked


def test_a_damaged_file_is_passed_over(told: Service, path: Path) -> None:
    whole = path.read_bytes()
    places = range(0, len(whole), len(whole) // 50)
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert EMPTY is kept.kept(told.log)
        path.write_bytes(whole[:place])
        assert EMPTY is kept.kept(told.log)
    path.write_bytes(whole)

    assert EMPTY is not kept.kept(told.log)


def test_other_code_folds_from_the_first_fact(
    told: Service, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "_code", lambda: bytes(32))

    assert EMPTY is kept.kept(told.log)
    assert state_at(told.log, told.log.head()) == state_at(told.log)


def test_the_state_of_another_log_is_passed_over(told: Service, path: Path, tmp_path: Path) -> None:
    place = Workspace(tmp_path / "another")
    place.lay_out()
    place.kept_state.write_bytes(path.read_bytes())
    other = open_log(place, "test", create=True)
    try:
        assert EMPTY is kept.kept(other)  # it has no such position
        for _ in range(told.log.head()):
            other.append(PauseRequested())

        assert EMPTY is kept.kept(other)
        assert fold(other.read(types=FOLDED)) == state_at(other)
    finally:
        other.close()


def test_another_state_that_would_be_begun_with_is_found(told: Service, path: Path) -> None:
    state = kept.kept(told.log)
    mode = "paused" if state.control.mode != "paused" else "running"
    kept.keep(told.log, replace(state, control=replace(state.control, mode=mode)))

    found = compare(told.log)
    assert [("control", "control.mode", mode)] == [(f.projection, f.path, f.live) for f in found]
    assert found == rebuild(told.log)
    assert [] == compare(told.log)


def test_a_rebuild_forgets_it(told: Service, path: Path) -> None:
    assert [] == rebuild(told.log)
    assert not path.exists()


def test_it_is_kept_again_only_when_there_is_much_more(
    told: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "FACTS", 4)
    job, seqs = Snapshots(), list[int]()
    for fact in [PauseRequested(), ResumeRequested()] * 4:
        job.take(told)
        seqs.append(kept.kept(told.log).seq)
        told.log.append(fact)

    assert [seqs[0]] * 4 + [seqs[0] + 4] * 4 == seqs
    assert seqs[4] == follow(told.log).state.seq


@contextmanager
def no_room(log: Log) -> Iterator[None]:
    """No file may grow beyond a few bytes: to whoever writes, that is a full disk."""
    log.head()  # opened before
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_on_a_full_disk_the_one_before_stays(told: Service, path: Path) -> None:
    before = path.read_bytes()
    with no_room(told.log):
        kept.keep(told.log, state_at(told.log, told.log.head()))

    assert before == path.read_bytes()
    assert [path.name] == [found.name for found in path.parent.iterdir() if found.is_file()]
