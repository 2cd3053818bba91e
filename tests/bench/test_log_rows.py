"""Appending and replaying beside raw sqlite3, the `eventsourcing` library and SQLModel, in CPU.

All on one RAM disk where there is one, in turn; facts as a run tells them, between its steps.
"""

import gc
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest

from core.logbook import open_log
from db.engine import connect, driver, immediate, sqlmodel_engine
from db.migrate import migrate
from db.workspace import Workspace
from events.codec import encode, stream_of
from events.log import INSERT_EVENT, Log
from events.reading import COLUMNS
from events.types import (
    CheckpointDeleted,
    CheckpointRetired,
    CheckpointSaved,
    Event,
    FilePlaced,
    FileQueued,
    PauseRequested,
    PhaseEntered,
    Recorded,
    StepsCompleted,
    StopRequested,
    ValidationMeasured,
)
from projections import queue
from projections.fold import NUMERIC, READERS, State, fold
from tests.bench.table import tell
from tests.bench.years import CHUNK, columns, write
from tests.facts import sha, specimen

ROUNDS = 7
FACTS = 4000  # of an arm and round, in batches
BATCHES = (1, 10, 100, 1000)
REPLAYED = 245_000  # steps of the log that is replayed: about six thousand control facts

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]


def facts(n: int) -> list[Event]:
    """What a run tells between its steps, over and over."""
    run, key = "r00001-0123abcd", sha("a")
    path = "models/current_model/checkpoint-460"
    some: list[Event] = [
        PhaseEntered(role="trainer", pid=7, phase="save", run=run),
        specimen(CheckpointSaved, run=run, path=path),
        PhaseEntered(role="trainer", pid=7, phase="eval", run=run),
        specimen(ValidationMeasured, run=run),
        CheckpointRetired(path=path, reason="beyond checkpoints_keep"),
        CheckpointDeleted(path=path),
        FileQueued(sha256=key, priority="normal"),
        FilePlaced(sha256=key, path="queue/normal/a.jsonl"),
    ]
    return list(islice(cycle(some), n))


@pytest.fixture
def folder() -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
    yield root
    shutil.rmtree(root)


def our_log(root: Path) -> Log:
    workspace = Workspace(root)
    workspace.lay_out()
    return open_log(workspace, "trainer", create=True)


def ours(root: Path, some: list[Event], batch: int) -> Callable[[], None]:
    log = our_log(root)

    def work() -> None:
        for start in range(0, len(some), batch):
            log.append(
                *some[start : start + batch], unless=(PauseRequested, StopRequested), after=start
            )

    return work


def raw(
    root: Path, some: list[Event], batch: int, without: tuple[str, ...] = ("trigger",)
) -> Callable[[], None]:
    """The same rows, ready made, into the same table with the same indexes; no triggers, no chain."""
    connection = connect(root / "raw.sqlite", create=True)
    migrate(connection)
    named = "SELECT name FROM sqlite_master WHERE type = ? AND sql IS NOT NULL"
    for kind in without:
        for (name,) in connection.execute(named, (kind,)).fetchall():
            connection.execute(f"DROP {kind} {name}")
    made = [(stream_of(f), type(f).__name__, f.VERSION, None, None, encode(f)) for f in some]
    rows = [(seq, 1_700_000_000_000_000, "trainer", *row) for seq, row in enumerate(made, 1)]

    def work() -> None:
        for start in range(0, len(rows), batch):
            with immediate(connection):
                connection.executemany(INSERT_EVENT, rows[start : start + batch])

    return work


def bare(root: Path, some: list[Event], batch: int) -> Callable[[], None]:
    """And without indexes: what the library's one tree of four columns is to be compared with."""
    return raw(root, some, batch, ("trigger", "index"))


def orm(root: Path, some: list[Event], batch: int) -> Callable[[], None]:
    """An object a row, `session.add`."""
    from sqlalchemy import create_engine
    from sqlmodel import Session

    from db.tables import EventRow

    path = root / "orm.sqlite"
    connection = connect(path, create=True)
    migrate(connection)
    engine = create_engine("sqlite://", module=driver(), creator=lambda: connect(path))
    made = [(stream_of(f), type(f).__name__, f.VERSION, encode(f)) for f in some]

    def work() -> None:
        for start in range(0, len(made), batch):
            with Session(engine) as session:
                for seq, (stream, name, version, data) in enumerate(made[start : start + batch], start + 1):
                    session.add(EventRow(
                        seq=seq, at=1, actor="trainer", stream=stream, type=name, version=version,
                        causation=None, correlation=None, data=data,
                    ))  # fmt: skip
                session.commit()

    return work


def theirs(root: Path, some: list[Event], batch: int) -> Callable[[], None]:
    """The library's recorder alone: its four columns, ready made."""
    from eventsourcing.persistence import StoredEvent
    from eventsourcing.sqlite import SQLiteAggregateRecorder, SQLiteDatastore

    recorder = SQLiteAggregateRecorder(SQLiteDatastore(str(root / "theirs.sqlite")))
    recorder.create_table()
    made = [
        StoredEvent(stream_of(f), n, f"events.types:{type(f).__name__}", encode(f).encode())
        for n, f in enumerate(some)
    ]

    def work() -> None:
        for start in range(0, len(made), batch):
            recorder.insert_events(made[start : start + batch])

    return work


Arm = Callable[[Path, list[Event], int], Callable[[], None]]


def spent(folder: Path, arms: dict[str, Arm], some: list[Event], batch: int) -> dict[str, list[float]]:
    """CPU seconds a fact, in turn, each in a database of its own; the first round warms up."""
    found: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(ROUNDS + 1):
        for name, arm in arms.items():
            root = folder / f"{name}-{turn}"
            root.mkdir()
            work = arm(root, some, batch)
            gc.collect()
            began = time.process_time()
            work()
            if turn:
                found[name].append((time.process_time() - began) / len(some))
            shutil.rmtree(root)
    return found


def ratio(of: list[float], to: list[float]) -> float:
    """How many times as quick: the median over the rounds."""
    return round(statistics.median(b / a for a, b in zip(of, to, strict=True)), 2)


def test_an_append_beside_raw_sqlite_the_library_and_the_orm(folder: Path) -> None:
    arms: dict[str, Arm] = {"raw": raw, "bare": bare, "ours": ours, "orm": orm}
    try:
        import eventsourcing  # noqa: F401
    except ImportError:
        print("\nthe `eventsourcing` library is not installed: no comparison with its recorder")
    else:
        arms["theirs"] = theirs
    for batch in BATCHES:
        n = FACTS if batch > 1 else FACTS // 8
        found = spent(folder, arms, facts(n), batch)
        shares = {f"of_{name}": ratio(found["ours"], cpu) for name, cpu in found.items() if name != "ours"}
        if "theirs" in found:
            shares |= {f"{name}_of_theirs": ratio(found[name], found["theirs"]) for name in ("raw", "bare")}
        bar = "raw >= 0.6, library >= 1.0, orm >= 10" if batch >= 100 else "library >= 1.0 from 10 on"
        micro = round(statistics.median(found["ours"]) * 1e6, 1)
        tell(f"append, batch {batch}", bar, [n * cpu for cpu in found["ours"]], us_a_fact=micro, **shares)


def test_an_append_of_steps(folder: Path) -> None:
    some: list[Event] = [
        StepsCompleted(run="r00001-0123abcd", attempt=1, first_step=1 + CHUNK * n,
                       first_global_step=1 + CHUNK * n, n=CHUNK, columns=columns(seed=n))
        for n in range(400)
    ]  # fmt: skip
    for batch in (1, 8, 100):  # as a trainer tells them, as the generator does, and many
        found = spent(folder, {"raw": raw, "ours": ours}, some, batch)
        micro = round(statistics.median(found["ours"]) / CHUNK * 1e6, 2)
        tell(f"append, 64 steps a fact, {batch} together", "-", [len(some) * cpu for cpu in found["ours"]],
             us_a_step=micro, of_raw=ratio(found["ours"], found["raw"]))  # fmt: skip


def test_a_replay_beside_raw_rows_the_library_and_the_orm(folder: Path) -> None:
    """Raw rows, read the quickest way, are what no reader can pass: how far they lead bounds all."""
    done = write(folder / "log", REPLAYED)
    log = Log(done.path, "cli")
    numeric = [cls.__name__ for cls in NUMERIC]
    of_queue = {cls for cls, folds in READERS.items() if "queue" in dict(folds)}

    def rows(wanted: str = COLUMNS) -> int:
        lying = f"SELECT {wanted} FROM event WHERE +type NOT IN (?, ?) ORDER BY seq"
        return sum(1 for _ in log.reader.execute(lying, numeric))

    def typed() -> int:
        return sum(isinstance(recorded.event, Event) for recorded in log.read(but=NUMERIC))

    def one_fold() -> queue.Queue:
        state = queue.EMPTY
        for recorded in log.read(but=NUMERIC):
            if type(recorded.event) in of_queue:
                state = queue.apply(state, recorded)
        return state

    def all_folds() -> State:
        return fold(log.read(but=NUMERIC))

    def objects() -> int:
        from sqlmodel import Session, col, select

        from db.tables import EventRow

        with Session(sqlmodel_engine(done.path)) as session:
            chosen = select(EventRow).where(col(EventRow.type).not_in(numeric)).order_by(col(EventRow.seq))
            return sum(1 for _ in session.exec(chosen))

    arms: dict[str, Callable[[], Any]] = {
        "raw rows, 9 columns": rows,
        "typed facts": typed,
        "queue's fold of them": one_fold,
        "nine folds of them": all_folds,
        "orm rows": objects,
    }
    if (mapped := _mapper(log)) is not None:
        arms["library's mapper"] = mapped
    cpu: dict[str, list[float]] = {name: [] for name in arms}
    for turn in range(3 * ROUNDS + 1):
        for name, arm in arms.items():
            gc.collect()
            began = time.process_time()
            arm()
            if turn:
                cpu[name].append(time.process_time() - began)
    for name, seconds in cpu.items():
        bar = "raw >= 0.6, library >= 5, orm >= 8" if "fold" in name else "-"
        shares = {
            f"of_{other.split()[0]}": ratio(seconds, cpu[other]) for other in cpu if other != name
        }
        micro = round(statistics.median(seconds) / done.control * 1e6, 1)
        tell(f"replay: {name}", bar, seconds, us_a_fact=micro, **shares)

    assert done.control == typed() == rows("seq")
    assert one_fold() == all_folds().queue
    log.close()


def _mapper(log: Log) -> Callable[[], int] | None:
    """The same facts with their times through the library: its recorder, its JSON transcoder, its mapper."""
    try:
        from eventsourcing.persistence import DatetimeAsISO, JSONTranscoder, Mapper
        from eventsourcing.sqlite import SQLiteAggregateRecorder, SQLiteDatastore
    except ImportError:
        print("\nthe `eventsourcing` library is not installed: no comparison with its mapper")
        return None
    import uuid

    from eventsourcing.domain import DomainEvent

    # a class that the library finds by its topic
    Noted = type("Noted", (DomainEvent,), {"__module__": __name__, "__qualname__": "Noted"})
    globals()["Noted"] = Noted
    transcoder = JSONTranscoder()
    transcoder.register(DatetimeAsISO())
    mapper: Any = Mapper(transcoder)
    datastore = SQLiteDatastore(str(log.path.with_name("theirs")))
    recorder, story = SQLiteAggregateRecorder(datastore), uuid.uuid4()
    recorder.create_table()

    def noted(n: int, recorded: Recorded) -> Any:
        event = object.__new__(Noted)
        at = datetime.fromtimestamp(recorded.at / 1e6, UTC)
        vars(event).update(originator_id=story, originator_version=n, timestamp=at)
        vars(event).update(json.loads(encode(recorded.event)))
        return mapper.to_stored_event(event)

    recorder.insert_events([noted(n, recorded) for n, recorded in enumerate(log.read(but=NUMERIC))])

    def work() -> int:
        stored = recorder.select_events(story)
        return sum(isinstance(mapper.to_domain_event(event), Noted) for event in stored)

    return work
