"""The rows: one class a table, the single source of the schema. Bytes without meaning.

The hot path writes these columns through the driver (`db.engine`); a test holds its SQL and the migrations
against the classes here.
"""

from typing import Any, ClassVar

from sqlalchemy import REAL, Column, Index, Integer, LargeBinary, Text, text
from sqlmodel import Field, SQLModel

STRICT = {"sqlite_strict": True}


def _text(**more: Any) -> Any:
    return Field(sa_column=Column(Text, nullable=False, **more))


def _integer(**more: Any) -> Any:
    return Field(sa_column=Column(Integer, **({"nullable": False} | more)))


class EventRow(SQLModel, table=True):
    """One fact: the envelope and its payload as JSON."""

    __tablename__: ClassVar[Any] = "event"
    __table_args__ = (
        Index("event_type", "type", "seq"),
        # type and actor stand behind: a search inside a stream reads no row that it does not show
        Index("event_stream", "stream", "seq", "type", "actor"),
        Index("event_actor", "actor", "type", "seq"),
        # partial: steps, nine rows in ten, have neither
        Index("event_correlation", "correlation", "seq", sqlite_where=text("correlation IS NOT NULL")),
        Index("event_causation", "causation", "seq", sqlite_where=text("causation IS NOT NULL")),
        STRICT,
    )

    seq: int = _integer(primary_key=True, autoincrement=False)
    at: int = _integer()  # µs since the epoch
    actor: str = _text()
    stream: str = _text()
    type: str = _text()
    version: int = _integer()
    causation: int | None = _integer(nullable=True)
    correlation: int | None = _integer(nullable=True)
    data: str = _text()


class CommitRow(SQLModel, table=True):
    """One append: which facts, and the chain's head after them."""

    __tablename__: ClassVar[Any] = "commit_log"
    __table_args__ = (STRICT,)

    first_seq: int = _integer(primary_key=True, autoincrement=False)
    last_seq: int = _integer(unique=True)
    at: int = _integer()
    prev_hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class CommandRow(SQLModel, table=True):
    """An answered command: the same key gets the same answer again. May be pruned by age."""

    __tablename__: ClassVar[Any] = "command"
    __table_args__ = (STRICT,)

    key: str = _text(primary_key=True)
    first_seq: int = _integer()
    last_seq: int = _integer()
    request_hash: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    at: int = _integer()


class RollupRow(SQLModel, table=True):
    """One bucket of a metric: global steps [bucket * width, (bucket + 1) * width), width 64 * 4^lvl.

    The metric leads the key, so a chart over all runs and one over a single run are both one range.
    """

    __tablename__: ClassVar[Any] = "rollup"
    __table_args__ = ({**STRICT, "sqlite_with_rowid": False},)

    metric: str = _text(primary_key=True)
    lvl: int = _integer(primary_key=True, autoincrement=False)
    bucket: int = _integer(primary_key=True, autoincrement=False)
    run: str = _text(primary_key=True)
    attempt: int = _integer(primary_key=True, autoincrement=False)
    n: int = _integer()  # finite values
    n_nonfinite: int = _integer()
    sum: float = Field(sa_column=Column(REAL, nullable=False))
    min: float | None = Field(sa_column=Column(REAL, nullable=True))
    max: float | None = Field(sa_column=Column(REAL, nullable=True))
    last: float | None = Field(sa_column=Column(REAL, nullable=True))
    last_step: int = _integer()  # global step of `last`


class HistoryRow(SQLModel, table=True):
    """One bucket of a metric over all runs, however many; only what was done again stands apart (`turn`)."""

    __tablename__: ClassVar[Any] = "history"
    __table_args__ = ({**STRICT, "sqlite_with_rowid": False},)

    metric: str = _text(primary_key=True)
    lvl: int = _integer(primary_key=True, autoincrement=False)  # from 1 on: width 64 * 4^lvl
    bucket: int = _integer(primary_key=True, autoincrement=False)
    turn: int = _integer(primary_key=True, autoincrement=False)  # the strand at which history last went back
    n: int = _integer()
    n_nonfinite: int = _integer()
    sum: float = Field(sa_column=Column(REAL, nullable=False))
    min: float | None = Field(sa_column=Column(REAL, nullable=True))
    max: float | None = Field(sa_column=Column(REAL, nullable=True))
    last: float | None = Field(sa_column=Column(REAL, nullable=True))
    last_step: int = _integer()


class StrandRow(SQLModel, table=True):
    """The steps of one trainer process in a row: the global steps `first_step` to `last_step`."""

    __tablename__: ClassVar[Any] = "strand"
    __table_args__ = (
        Index("strand_run", "run", "seq"),
        Index("strand_turn", "seq", sqlite_where=text("seq = turn")),
        STRICT,
    )

    seq: int = _integer(primary_key=True, autoincrement=False)  # of its first steps
    run: str = _text()
    attempt: int = _integer()
    first_step: int = _integer()
    last_step: int = _integer()
    turn: int = _integer()  # seq of the newest strand up to here that did steps again, else of the first


class BackfillRow(SQLModel, table=True):
    """What an older schema did not keep, and up to which fact it is folded by now; no row: all is."""

    __tablename__: ClassVar[Any] = "backfill"
    __table_args__ = (STRICT,)

    name: str = _text(primary_key=True)
    seq: int = _integer()


class SnapshotRow(SQLModel, table=True):
    """A fold's state at a position: a cache, deletable at any time."""

    __tablename__: ClassVar[Any] = "snapshot"
    __table_args__ = (STRICT,)

    projection: str = _text(primary_key=True)
    version: int = _integer(primary_key=True, autoincrement=False)
    seq: int = _integer(primary_key=True, autoincrement=False)
    digest: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    data: str = _text()


class HeartbeatRow(SQLModel, table=True):
    """Liveness, overwritten in place, never folded."""

    __tablename__: ClassVar[Any] = "heartbeat"
    __table_args__ = (STRICT,)

    role: str = _text(primary_key=True)
    pid: int = _integer()
    phase: str = _text()
    step: int | None = _integer(nullable=True)
    at: int = _integer()  # µs since the epoch
    sample: str | None = Field(sa_column=Column(Text, nullable=True))  # the newest resource sample, JSON
    progress: int | None = _integer(nullable=True)  # how often the work has moved; `at` says only who lives
