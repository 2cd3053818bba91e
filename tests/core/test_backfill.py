"""A log of an older schema: what it did not keep is folded in slices, whoever dies or appends meanwhile."""

import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from core.jobs.service import Service
from core.jobs.table import fold_history
from core.logbook import backfill, open_log
from core.rebuilding import rebuild
from db import rollups
from db.engine import connect, driver
from db.migrate import migrate, migrations
from db.workspace import Workspace
from events.log import Log
from events.types import Event, PauseRequested, StepsCompleted
from events.verify import verify_log
from web.trail import Trail

WITHOUT_HISTORY = 2  # the newest schema that did not keep it


def steps(n: int) -> list[Event]:
    """Facts of steps of several tries: now and then one goes back, so that history does, too."""
    chance, found, at, attempt = random.Random(7), list[Event](), 1, 1
    for _ in range(n):
        if chance.random() < 0.1:
            at, attempt = max(1, at - chance.randrange(40)), attempt + 1
        found.append(StepsCompleted(
            run=f"r{attempt // 4}", attempt=attempt, first_step=at, first_global_step=at, n=5,
            columns={"loss": [chance.random() for _ in range(5)], "tokens": [7] * 5, "seconds": [0.1] * 5},
        ))  # fmt: skip
        at += 5
    return found


def curves_of(log: Log) -> list[Any]:
    found = list[Any]()
    for name, key, columns in rollups.TABLES:
        found += log.reader.execute(f"SELECT {columns} FROM {name} ORDER BY {key}").fetchall()
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log as it is written today."""
    place = Workspace(tmp_path_factory.mktemp("whole"))
    place.lay_out()
    log = open_log(place, "test", create=True)
    for fact in steps(150):
        log.append(fact, PauseRequested())
    log.close()
    return place.root


@pytest.fixture
def expected(whole: Path) -> list[Any]:
    log = open_log(Workspace(whole), "test")
    found = curves_of(log)
    log.close()
    return found


@pytest.fixture
def older(whole: Path, tmp_path: Path) -> Callable[[], Workspace]:
    """The same facts in logs of the older schema, each as that software left it."""
    count = 0

    def make() -> Workspace:
        nonlocal count
        count += 1
        place = Workspace(tmp_path / f"older{count}")
        place.lay_out()
        connection = connect(place.log, create=True)
        migrate(connection, [step for step in migrations() if step[0] <= WITHOUT_HISTORY])
        connection.execute("ATTACH ? AS today", (str(Workspace(whole).log),))
        for table in ("event", "commit_log", "rollup"):
            connection.execute(f"INSERT INTO {table} SELECT * FROM today.{table}")
        connection.close()
        return place

    return make


def test_an_older_log_is_folded_slice_by_slice_to_what_todays_has(
    older: Callable[[], Workspace], expected: list[Any]
) -> None:
    log, slices = open_log(older(), "daemon"), 1
    while backfill(log, facts=20):
        slices += 1
    here = curves_of(log)

    assert len(steps(150)) // 20 + 1 == slices
    assert expected == here
    assert rollups.backfilled(log.reader) is None
    assert not backfill(log)
    assert [] == rebuild(log)
    log.close()


def test_a_log_without_steps_and_one_of_today_have_nothing_to_be_folded(whole: Path, tmp_path: Path) -> None:
    empty = Workspace(tmp_path)
    empty.lay_out()
    for log in (open_log(Workspace(whole), "test"), open_log(empty, "test", create=True)):
        before = curves_of(log)

        assert rollups.backfilled(log.reader) is None
        assert not backfill(log)
        assert before == curves_of(log)
        log.close()


def test_steps_that_come_meanwhile_are_folded_in_their_order(older: Callable[[], Workspace]) -> None:
    daemon = open_log(place := older(), "daemon")
    trainer = open_log(place, "trainer")
    at = 5000
    while backfill(daemon, facts=16):
        if at < 5020:
            trainer.append(StepsCompleted(run="r9", attempt=1, first_step=at, first_global_step=at, n=5,
                                          columns={"loss": [0.1, 0.2, 0.4, 0.8, 1.6]}))  # fmt: skip
            at += 5
    trainer.append(StepsCompleted(run="r9", attempt=1, first_step=at, first_global_step=at, n=1,
                                  columns={"loss": [3.2]}))  # fmt: skip

    assert 5020 == at
    assert [] == rebuild(daemon)
    assert at == rollups.newest_strand(daemon.reader)[4]
    trainer.close()
    daemon.close()


def test_two_that_fold_at_once_fold_nothing_twice(
    older: Callable[[], Workspace], expected: list[Any]
) -> None:
    logs = [open_log(place := older(), "daemon"), open_log(place, "cli")]

    def work(log: Log) -> int:
        slices = 1
        while backfill(log, facts=3):
            slices += 1
            time.sleep(0.005)  # as the daemon does: the other has its turn
        return slices

    with ThreadPoolExecutor(2) as pool:
        slices = list(pool.map(work, logs))

    assert all(n > 1 for n in slices)
    assert expected == curves_of(logs[0])
    for log in logs:
        log.close()


def killed_at(place: Workspace, statement: int) -> bool:
    """Fold in a child that dies before this SQL statement; False: it was through before."""
    child = os.fork()
    if child == 0:
        try:
            count = 0

            def trace(sql: str) -> None:
                nonlocal count
                count += 1
                if count == statement:
                    os.kill(os.getpid(), signal.SIGKILL)

            log = open_log(place, "daemon")
            with log.transaction() as db:
                db.set_trace_callback(trace)
            while backfill(log, facts=20):
                continue
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL)
    return os.WIFSIGNALED(status)


def test_a_kill_at_any_statement_loses_a_slice_and_doubles_none(
    older: Callable[[], Workspace], expected: list[Any]
) -> None:
    place, killed = older(), 0
    while killed_at(place, 350 + 29 * killed):  # each goes on where the one before was cut short
        killed += 1
    for n in (1, 2, 3, 5, 8):
        other = older()
        assert killed_at(other, n)
        assert not killed_at(other, 10**9)
        log = open_log(other, "test")
        assert expected == curves_of(log)
        log.close()
    log = open_log(place, "test")

    assert killed > 3
    assert expected == curves_of(log)
    assert () == verify_log(log.reader).problems
    log.close()


def test_the_daemon_folds_it_beside_its_other_work(
    older: Callable[[], Workspace], expected: list[Any]
) -> None:
    place = older()
    log = open_log(place, "daemon")
    before = Trail(log, None, to=log.head())
    before.catch_up()  # a page of a past moment meanwhile
    fold_history(Service(place, log))

    assert expected == curves_of(log)
    log.close()


def test_a_slice_reads_no_facts_while_it_holds_the_lock(older: Callable[[], Workspace]) -> None:
    log, said = open_log(older(), "daemon"), list[str]()
    with log.transaction() as db:
        db.set_trace_callback(said.append)
    said.clear()  # that transaction's own end
    backfill(log, facts=3)
    looks = [sql for sql in said if "FROM event" in sql]

    assert ("BEGIN IMMEDIATE", "COMMIT") == (said[0], said[-1])
    assert 1 == len(looks) and "LIMIT 1" in looks[0]
    log.close()


def test_a_crash_of_the_migration_leaves_the_older_log(older: Callable[[], Workspace]) -> None:
    place = older()
    connection = driver().connect(str(place.log), isolation_level=None)
    broken = [*migrations(), (migrations()[-1][0] + 1, "INSERT INTO nowhere VALUES (1);")]
    with pytest.raises(driver().OperationalError):
        migrate(connection, broken)

    assert WITHOUT_HISTORY == connection.execute("PRAGMA user_version").fetchone()[0]
    connection.close()
