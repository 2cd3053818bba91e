"""The generator: the same facts each time, a history that the folds accept, with something of everything."""

from pathlib import Path

import pytest

from core.logbook import open_log, state_at
from core.rebuilding import rebuild
from db.workspace import Workspace
from tests.bench import years
from tests.bench.years import RUN_STEPS, Years, write

STEPS = 3 * RUN_STEPS
ROWS = "SELECT seq, actor, stream, type, version, causation, correlation, data FROM event ORDER BY seq"


def _facts(done: Years) -> list[object]:
    log = open_log(Workspace(done.path.parent), "cli")
    found = log.reader.execute(ROWS).fetchall()
    log.close()
    return list(found)


def test_the_same_numbers_give_the_same_facts(tmp_path: Path) -> None:
    one, other = write(tmp_path / "one", STEPS), write(tmp_path / "other", STEPS)

    assert STEPS <= one.steps
    assert len(_facts(one)) == one.events > one.control
    assert _facts(one) == _facts(other)


def test_every_fate_happens_and_the_folds_take_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = {"KILL": 2, "PAUSE": 3, "RESTORE": 7, "REJECTED": 5, "ALERT": 4, "RUN_STEPS": 230,
              "SAVE_STEPS": 46, "KEPT": 5, "SPIKE": 501}  # fmt: skip
    for name, number in chosen.items():
        monkeypatch.setattr(years, name, number)
    done = write(tmp_path / "years", 4000)
    log = open_log(Workspace(tmp_path / "years"), "cli")
    state = state_at(log)

    assert done.killed and done.restored and done.spikes
    assert {"completed"} == {run.state for run in state.run.runs.values()}
    assert {"completed", "rejected"} == {entry.state for entry in state.queue.entries.values()}
    assert {"kept", "deleted"} == {version.state for version in state.versions.versions.values()}
    assert state.versions.restored and state.control.mode == "running" and () == state.control.pending
    assert [] == rebuild(log)
    log.close()
