"""The log: gapless, in commit order, never changed; acknowledged means committed."""

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from db.engine import LogUnreadable, connect, driver, has_wal_race
from db.migrate import migrate, migrations
from db.tables import CommandRow, CommitRow, EventRow
from events import log as module
from events.chain import GENESIS, link
from events.codec import encode, stream_of
from events.heartbeat import Heartbeat
from events.log import Conflict, KeyReused, Log
from events.types import (
    Event,
    FilePlaced,
    PauseRequested,
    ProcessStarted,
    RequestRefused,
    ResumeRequested,
    ServicePaused,
    ServiceStopped,
    StepsCompleted,
    StopRequested,
)
from events.verify import Anchor, verify_log
from tests.facts import specimen, specimens


def test_facts_come_back_as_they_were_with_their_envelope(log: Log) -> None:
    facts = specimens()
    seqs = log.append(*facts, causation=7, correlation=3, actor="daemon")

    found = list(log.read())

    assert list(range(1, len(facts) + 1)) == seqs == [each.seq for each in found]
    assert repr(facts) == repr([each.event for each in found])  # repr: NaN is not equal to itself
    whole = [log.get(seq) for seq in seqs]
    assert {("daemon", 7, 3)} == {(each.actor, each.causation, each.correlation) for each in whole}
    assert [stream_of(fact) for fact in facts] == [each.stream for each in whole]
    assert 1 == len({each.at for each in found})


def test_no_facts_no_commit(log: Log) -> None:
    assert [] == log.append()
    assert 0 == log.head()


def test_the_columns_written_are_those_of_the_table_classes() -> None:
    for sql, row in (
        (module.INSERT_EVENT, EventRow),
        (module.INSERT_COMMIT, CommitRow),
        (module.INSERT_COMMAND, CommandRow),
    ):
        written = sql[sql.index("(") + 1 : sql.index(")")].split(", ")
        assert sorted(row.__table__.columns.keys()) == sorted(written)  # type: ignore[attr-defined]
    assert module.COLUMNS.split(", ") == list(EventRow.__table__.columns.keys())  # type: ignore[attr-defined]


def test_a_decision_on_old_news_is_refused_and_appends_nothing(log: Log) -> None:
    log.append(PauseRequested())
    seen = log.head()
    log.append(StopRequested(), FilePlaced(sha256="a", path="p"))

    with pytest.raises(Conflict, match=r"StopRequested \(#2\)"):
        log.append(ServicePaused(request=1), unless=(PauseRequested, StopRequested), after=seen)

    assert 3 == log.head()
    assert [4] == log.append(ServicePaused(request=1), unless=(PauseRequested,), after=seen)


def test_the_same_command_gets_the_same_answer_and_another_one_is_refused(log: Log) -> None:
    first = log.append(PauseRequested(), ResumeRequested(), key="k")
    again = log.append(PauseRequested(), ResumeRequested(), key="k")

    assert [1, 2] == first == again
    for other in ((PauseRequested(),), (ResumeRequested(), PauseRequested()), (StopRequested(),)):
        with pytest.raises(KeyReused, match="#1 to #2"):
            log.append(*other, key="k")
    assert 2 == log.head()


def test_an_answered_command_is_answered_even_when_the_world_has_moved_on(log: Log) -> None:
    log.append(ServicePaused(request=1), unless=(StopRequested,), after=0, key="k")
    log.append(StopRequested())

    assert [1] == log.append(ServicePaused(request=1), unless=(StopRequested,), after=0, key="k")


def test_reading_by_type_stream_and_range(log: Log) -> None:
    for n in range(5):
        log.append(
            ProcessStarted(role="daemon", pid=n), ProcessStarted(role="trainer", pid=n), PauseRequested()
        )

    def seqs(**chosen: Any) -> list[int]:
        return [each.seq for each in log.read(**chosen, page=2)]

    assert list(range(1, 16)) == seqs()
    assert [3, 6, 9, 12, 15] == seqs(types=(PauseRequested,))
    assert [2, 5, 8, 11, 14] == seqs(stream="process/trainer")
    assert [8, 11] == seqs(stream="process/trainer", after=5, to=11)
    assert [] == seqs(types=(RequestRefused,))


def test_the_newest_of_a_type_and_of_a_stream(log: Log) -> None:
    for n in range(4):
        log.append(ProcessStarted(role="daemon", pid=n), ProcessStarted(role="trainer", pid=n))

    newest, before = log.newest(ProcessStarted), log.newest(ProcessStarted, stream="process/daemon", to=6)

    assert newest is not None
    assert before is not None
    assert (8, 5) == (newest.seq, before.seq)
    assert [6, 8] == [each.seq for each in log.last(2, ProcessStarted, stream="process/trainer")]
    assert log.newest(PauseRequested) is None
    assert log.get(99) is None


def test_a_time_is_found_as_a_position(log: Log) -> None:
    for _ in range(6):
        log.append(PauseRequested())
    times = [each.at for each in log.read()]

    for seq, at in enumerate(times, start=1):
        newest = max(n for n, other in enumerate(times, start=1) if other <= at)
        assert newest == log.seq_at(at)
        assert seq <= newest
    assert 0 == log.seq_at(times[0] - 1)


def test_the_commit_of_a_fact_is_its_anchor(log: Log) -> None:
    log.append(PauseRequested(), PauseRequested())
    log.append(PauseRequested())

    assert log.commit_of(1) == log.commit_of(2)
    assert 2 == log.commit_of(1)[0]
    anchors = [Anchor(last, head.hex()) for last, head in (log.commit_of(1), log.commit_of(3))]
    assert () == verify_log(log.reader, anchors).problems
    with pytest.raises(KeyError):
        log.commit_of(4)


def test_what_runs_inside_the_append_commits_or_vanishes_with_it(tmp_path: Path) -> None:
    def inline(connection: Any, facts: Any) -> None:
        row = (f"#{facts[0].seq}", 1, "x", 0)
        connection.execute("INSERT INTO heartbeat (role, pid, phase, at) VALUES (?, ?, ?, ?)", row)
        if isinstance(facts[0].event, StopRequested):
            raise ValueError("no")

    log = Log(tmp_path / "log.sqlite", "test", inline=inline, create=True)
    log.append(PauseRequested())
    with pytest.raises(ValueError, match="no"):
        log.append(StopRequested())

    assert 1 == log.head()
    assert ["#1"] == list(log.heartbeats())
    log.close()


def test_inside_the_append_only_the_facts_asked_for_are_seen(tmp_path: Path) -> None:
    seen: list[list[int]] = []
    log = Log(
        tmp_path / "log.sqlite", "test", create=True, inline_types=(StopRequested, ResumeRequested),
        inline=lambda connection, facts: seen.append([fact.seq for fact in facts]),
    )  # fmt: skip
    log.append(PauseRequested(), StopRequested(), PauseRequested(), ResumeRequested())
    log.append(PauseRequested())
    log.append(StopRequested())
    log.close()

    assert [[2, 4], [6]] == seen


def test_a_heartbeat_is_overwritten_and_keeps_its_last_sample(log: Log) -> None:
    log.beat("daemon", 5, "idle", sample='{"ram": 1}')
    log.beat("daemon", 6, "step", 9)

    beat = log.heartbeats()["daemon"]

    assert (6, "step", 9, '{"ram": 1}') == (beat["pid"], beat["phase"], beat["step"], beat["sample"])
    assert 0 == log.head()


def test_a_heartbeat_that_finds_the_log_locked_is_left_out_and_kills_nobody(log: Log) -> None:
    other = Log(log.path, "trainer", busy_ms=20)
    heart = Heartbeat(other, "trainer")
    with log.transaction():
        kept = heart.beat("step", 1, now=0.0), heart.beat("step", 2, now=0.1), heart.beat("save", 2, now=0.2)
        heart.gone()
        seen = log.heartbeats()
    again = heart.beat("save", 3, now=0.3), heart.beat("save", 3, now=1.0)
    beat = log.heartbeats()["trainer"]
    log.reader.execute("PRAGMA query_only=0")
    log.reader.execute("ALTER TABLE heartbeat RENAME TO elsewhere")

    assert ((False, False, False), {}) == (kept, seen)
    assert ((False, True), ("save", 3)) == (again, (beat["phase"], beat["step"]))
    with pytest.raises(driver().OperationalError, match="no such table"):  # that is another matter
        heart.beat("save", 3, now=2.0)
    other.close()


def test_another_connections_commit_is_noticed_cheaply(log: Log) -> None:
    before = log.change()
    still = log.change()
    other = Log(log.path, "other")
    other.append(PauseRequested())
    other.close()

    assert before == still
    assert before != log.change()


def test_threads_share_a_log(log: Log) -> None:
    def work() -> None:
        for _ in range(10):
            log.append(PauseRequested(), ResumeRequested())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert ["PauseRequested", "ResumeRequested"] * 40 == [type(each.event).__name__ for each in log.read()]
    assert () == verify_log(log.reader).problems


FORBIDDEN = [
    "UPDATE event SET data = '{}' WHERE seq = 1",
    "UPDATE event SET seq = 99 WHERE seq = 2",
    "DELETE FROM event WHERE seq = 2",
    "DELETE FROM event",
    "REPLACE INTO event SELECT seq, at, actor, stream, type, 9, causation, correlation, data FROM event",
    "INSERT OR REPLACE INTO event SELECT * FROM event WHERE seq = 1",
    "INSERT OR IGNORE INTO event SELECT * FROM event WHERE seq = 1",
    "INSERT INTO event SELECT * FROM event WHERE seq = 1 ON CONFLICT DO UPDATE SET data = '{}'",
    "UPDATE OR REPLACE event SET data = '{}'",
    "UPDATE commit_log SET at = 0",
    "DELETE FROM commit_log",
    "REPLACE INTO commit_log SELECT first_seq, last_seq, 0, prev_hash, hash FROM commit_log",
    "REPLACE INTO commit_log SELECT first_seq + 50, last_seq, 0, prev_hash, hash FROM commit_log",
    "INSERT INTO commit_log SELECT * FROM commit_log WHERE true ON CONFLICT DO UPDATE SET at = 0",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
@pytest.mark.parametrize("ours", [True, False])
def test_what_is_written_is_never_changed_by_any_connection(log: Log, statement: str, ours: bool) -> None:
    log.append(PauseRequested(), ResumeRequested())
    rows = log.reader.execute("SELECT * FROM event").fetchall()
    commits = log.reader.execute("SELECT * FROM commit_log").fetchall()
    plain = sqlite3 if not has_wal_race(sqlite3.sqlite_version_info) else driver()
    connection = log._write if ours else plain.connect(str(log.path), isolation_level=None)

    with pytest.raises((driver().DatabaseError, sqlite3.DatabaseError), match="append-only"):
        connection.execute(statement)
    if not ours:
        connection.close()

    assert rows == log.reader.execute("SELECT * FROM event").fetchall()
    assert commits == log.reader.execute("SELECT * FROM commit_log").fetchall()


def test_a_transaction_that_replaces_a_fact_leaves_nothing_behind(log: Log) -> None:
    log.append(PauseRequested())
    connection = driver().connect(str(log.path), isolation_level=None)
    connection.execute("BEGIN")
    connection.execute("INSERT INTO event SELECT 2, at, actor, stream, type, 1, NULL, NULL, data FROM event")
    with pytest.raises(driver().IntegrityError, match="never replaced"):
        connection.execute("REPLACE INTO event SELECT * FROM event WHERE seq = 1")
    connection.close()

    assert [1] == [fact.seq for fact in log.read()]


@pytest.mark.parametrize("schema", [number for number, _ in migrations()])
def test_a_log_of_each_released_schema_is_lifted_and_goes_on(tmp_path: Path, schema: int) -> None:
    path, first = tmp_path / "log.sqlite", PauseRequested()
    old = connect(path, create=True)
    migrate(old, migrations()[:schema])
    row = (1, 5, "web", "control", "PauseRequested", 1, None, None, encode(first))
    old.execute(module.INSERT_EVENT, row)
    old.execute(module.INSERT_COMMIT, (1, 1, 5, GENESIS, link(GENESIS, 1, 1, 5, [row])))
    old.close()
    log = Log(path, "test")
    log.append(ResumeRequested())

    assert migrations()[-1][0] == log.schema()
    assert [first, ResumeRequested()] == [fact.event for fact in log.read()]
    assert () == verify_log(log.reader).problems
    for statement in FORBIDDEN:
        with pytest.raises(driver().DatabaseError, match="append-only"):
            log._write.execute(statement)
    log.close()


def test_steps_with_nan_and_infinity_come_back(log: Log) -> None:
    nan, inf = float("nan"), float("inf")
    fact: Event = StepsCompleted(
        run="r1", attempt=1, first_step=1, first_global_step=1, n=4, columns={"loss": [nan, inf, -inf, 1.5]}
    )
    log.append(fact)

    (found,) = log.read()

    assert repr(fact) == repr(found.event)


@pytest.mark.parametrize("page", [1, 3, 7, 2000])
def test_facts_of_several_types_come_in_order_whatever_lies_between(log: Log, page: int) -> None:
    for n in range(60):
        log.append(*[specimen(StepsCompleted)] * (n % 9), PauseRequested(), *[ResumeRequested()] * (n % 3))
    head, types = log.head(), (PauseRequested, ResumeRequested, ServiceStopped)
    every = [fact.seq for fact in log.read() if isinstance(fact.event, types)]

    bounds = ((0, None), (5, None), (0, head // 2), (head // 3, head // 2), (0, head + 9), (head, None))
    for after, to in bounds:
        wanted = [seq for seq in every if after < seq <= (head if to is None else to)]
        assert wanted == [fact.seq for fact in log.read(after, to=to, types=types, page=page)]
        assert wanted == [fact.seq for fact in log.read(after, to=to, but=(StepsCompleted,), page=page)]


@pytest.mark.parametrize("page", [1, 2000])
def test_a_fact_of_a_newer_software_is_not_passed_over(log: Log, page: int) -> None:
    log.append(PauseRequested(), specimen(StepsCompleted), ResumeRequested())
    log._write.execute(module.INSERT_EVENT, (4, 0, "web", "moon", "MoonLanded", 1, None, None, "{}"))

    assert 2 == sum(1 for _ in log.read(to=3, but=(StepsCompleted,), page=page))
    with pytest.raises(LogUnreadable, match="MoonLanded"):
        list(log.read(but=(StepsCompleted,), page=page))
