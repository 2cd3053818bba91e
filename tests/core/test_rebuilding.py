"""Rebuilding: a healthy log has no difference, and a planted one is named."""

import re

import pytest

from core.jobs.service import Service
from core.logbook import state_at
from core.rebuilding import READ_STATE, ROWS_A_WRITE, compare, first_difference, keep, rebuild
from db import rollups
from events.types import PauseRequested, ResumeRequested, StepsCompleted
from projections.fold import PROJECTIONS
from tests.projections.story import rich

NAN = float("nan")


@pytest.fixture
def told(service: Service) -> Service:
    """The rich story behind a workspace's own first facts, steps with holes, and a noted state."""
    service.log.append(*rich().facts)
    for n in range(30):
        losses = [5.0 - n / 10, NAN if n % 7 == 0 else 0.1 * n, None if n % 5 == 0 else 1 / 3]
        service.log.append(StepsCompleted(
            run="r9", attempt=1 + n // 20, first_step=3 * n + 1, first_global_step=3 * n + 41, n=3,
            columns={"loss": losses, "tokens": [100, 200, 300], "seconds": [0.1, 0.2, 0.7]},
        ))  # fmt: skip
    keep(service.log, service.state())
    return service


def rollup_rows(service: Service) -> list[object]:
    found = list[object]()
    for name, key, columns in rollups.TABLES:
        found += service.log.reader.execute(f"SELECT {columns} FROM {name} ORDER BY {key}").fetchall()
    return found


def test_a_healthy_log_has_no_difference_and_is_the_same_afterwards(told: Service) -> None:
    before = rollup_rows(told)

    assert [] == rebuild(told.log)
    assert len(before) > 20
    assert before == rollup_rows(told)
    assert [] == rebuild(told.log)


@pytest.mark.parametrize("name", [name for name in PROJECTIONS if name != "workspace"])
def test_a_planted_difference_in_a_noted_state_is_named_and_mended(told: Service, name: str) -> None:
    (text,) = told.log.reader.execute("SELECT data FROM snapshot WHERE projection = ?", (name,)).fetchone()
    place = next(i for i in range(len(text) // 2, len(text)) if text[i] in "0123456789")
    other = text[:place] + str((int(text[place]) + 1) % 9 + 1 - (text[place] == "9")) + text[place + 1 :]
    with told.log.transaction() as db:
        db.execute("UPDATE snapshot SET data = ? WHERE projection = ?", (other, name))

    found = compare(told.log)

    assert [name] == [difference.projection for difference in found]
    assert found[0].path.startswith(name)
    assert found[0].live != found[0].folded
    assert found == rebuild(told.log)
    assert [] == compare(told.log)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE rollup SET sum = sum + 1 WHERE metric = 'loss' AND lvl = 2",
        "UPDATE rollup SET last = NULL WHERE metric = 'loss' AND lvl = 0 AND bucket = 1",
        "DELETE FROM rollup WHERE metric = 'tokens_per_sec' AND lvl = 8",
        "UPDATE history SET max = max + 1 WHERE metric = 'loss' AND lvl = 1",
        "DELETE FROM history",
        "UPDATE strand SET turn = seq",
        "INSERT INTO rollup VALUES ('loss', 0, 999, 'r9', 1, 1, 0, 1.0, 1.0, 1.0, 1.0, 63999)",
    ],
)
def test_a_planted_difference_in_the_curves_is_named_and_mended(told: Service, damage: str) -> None:
    whole = rollup_rows(told)
    with told.log.transaction() as db:
        db.execute(damage)

    found = rebuild(told.log)

    assert found
    assert {"curves"} == {difference.projection for difference in found}
    assert whole == rollup_rows(told)
    assert [] == rebuild(told.log)


@pytest.mark.parametrize("size", [1, 3, 7])
def test_sums_are_the_same_bits_however_many_are_merged_at_once(
    told: Service, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr("core.aside.FACTS_AT_ONCE", size)
    monkeypatch.setattr("core.aside.ROWS_AT_ONCE", size)
    whole = rollup_rows(told)

    assert [] == rebuild(told.log)
    with told.log.transaction() as db:
        db.execute("UPDATE history SET sum = sum + 1e-9 WHERE metric = 'tokens_per_sec' AND lvl = 8")
    assert ["history/tokens_per_sec/8/0"] == [d.path.rpartition("/")[0] for d in rebuild(told.log)]
    assert whole == rollup_rows(told)


def test_steps_that_come_while_it_folds_are_in(told: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.aside.STRIDE", 20)
    with told.log.transaction() as db:
        db.execute("DELETE FROM history WHERE bucket = 0")
    said, first = [], 200

    def tell(seq: int, head: int) -> None:
        nonlocal first
        said.append((seq, head))
        if len(said) < 5:
            told.log.append(StepsCompleted(run="r9", attempt=2, first_step=first, first_global_step=first,
                                           n=2, columns={"loss": [0.1, 0.7]}))  # fmt: skip
            first += 2

    found = rebuild(told.log, tell)

    assert {"curves"} == {difference.projection for difference in found}
    assert said[-1][0] == said[-1][1] == told.log.head() and said[0][1] < told.log.head()
    assert [] == rebuild(told.log)


def test_a_note_of_an_older_state_is_compared_with_that_moment(told: Service) -> None:
    told.log.append(PauseRequested(), ResumeRequested())

    assert [] == compare(told.log)
    assert told.log.head() > told.log.reader.execute(READ_STATE).fetchone()[2]


def test_without_notes_there_is_nothing_to_compare_and_rebuild_makes_them(told: Service) -> None:
    with told.log.transaction() as db:
        db.execute("DELETE FROM snapshot")
        db.execute("DELETE FROM rollup")
    mended = rebuild(told.log)

    assert {"curves"} == {difference.projection for difference in mended}
    assert len(PROJECTIONS) == len(told.log.reader.execute(READ_STATE).fetchall())
    assert state_at(told.log) == told.state()


def test_the_first_place_where_two_values_differ() -> None:
    one, other = {"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 3}]}}

    assert ("x.a.b.1.c", 2, 3) == first_difference(one, other, "x")
    assert ("x.a", [1], [1, 2]) == first_difference({"a": [1]}, {"a": [1, 2]}, "x")
    assert ("x.n", None, 1) == first_difference({}, {"n": 1}, "x")


def test_no_append_waits_for_a_fold_or_for_many_rows(told: Service) -> None:
    """What a write transaction of a rebuild does: few rows, and of the log only what came a moment ago."""
    log, said = told.log, list[str]()
    with log.transaction() as db:
        for n in range(3 * ROWS_A_WRITE):
            db.execute("INSERT INTO rollup VALUES ('loss', 0, ?, 'r8', 1, 1, 0, 1.0, 1.0, 1.0, 1.0, 1)", (n,))
        db.set_trace_callback(said.append)
    log.reader.set_trace_callback(said.append)
    head = log.head()
    said.clear()
    found = rebuild(log)
    log.reader.set_trace_callback(None)
    inside = "\n".join(said).split("BEGIN IMMEDIATE")[1:]
    writes = [part.partition("COMMIT")[0] for part in inside]
    mended = [part.count("DELETE FROM rollup") for part in writes]
    looks = [int(seq) for part in writes for seq in re.findall(r"FROM event WHERE seq > (\d+)", part)]

    assert 3 * ROWS_A_WRITE == len(found)
    assert [ROWS_A_WRITE] * 3 == [n for n in mended if n]
    assert looks and all(seq >= head for seq in looks)
    assert all(part.count("INSERT OR REPLACE INTO snapshot") <= 1 for part in writes)  # some are megabytes
