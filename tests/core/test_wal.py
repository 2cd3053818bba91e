"""A WAL that was cut or damaged at any place: an exact prefix is left, whole, and the log goes on."""

import struct
from pathlib import Path

import pytest

from core.logbook import open_log
from core.rebuilding import compare_curves
from db.workspace import Workspace
from events.log import Log
from events.types import MoveRequested, PauseRequested, StepsCompleted
from events.verify import Anchor, verify_log

FRAME_HEADER, WAL_HEADER = 24, 32  # bytes (SQLite, "WAL-mode File Format", 4)


class Written:
    """A log whose newest commits lie in its WAL alone: which facts there were at the end of which frame."""

    def __init__(self, root: Path) -> None:
        self.place = Workspace(root)
        self.place.lay_out()
        open_log(self.place, "test", create=True).close()
        log = open_log(self.place, "test")
        self.heads: dict[int, int] = {0: 0}  # frames → newest fact
        self.anchors: dict[int, Anchor] = {}  # newest fact → chain head
        for n in range(1, 7):
            at = 1 if n == 4 else 10 * n  # once it goes back
            log.append(
                StepsCompleted(run="r1", attempt=1 + n // 4, first_step=at, first_global_step=at, n=3,
                               columns={"loss": [1 / n, 2.0, 0.5]}),
                *[MoveRequested(sha256=f"{n}/{i}", priority="x" * 900) for i in range(n)],
            )  # fmt: skip
            self.heads[self.frames] = log.head()
            self.anchors[log.head()] = Anchor(log.head(), log.commit_of(log.head())[1].hex())
        self.database, self.wal = self.place.log.read_bytes(), self._wal.read_bytes()
        self.rows = list(log.read())
        log.close()

    @property
    def _wal(self) -> Path:
        return self.place.log.with_name(f"{self.place.log.name}-wal")

    @property
    def frames(self) -> int:
        return (self._wal.stat().st_size - WAL_HEADER) // self.frame

    @property
    def frame(self) -> int:
        """Bytes of a frame."""
        with self.place.log.open("rb") as file:
            (page,) = struct.unpack(">H", file.read(18)[16:])
        return FRAME_HEADER + int(page)

    def start(self, frame: int) -> int:
        return WAL_HEADER + frame * self.frame

    def open(self, wal: bytes) -> Log:
        """The log as a machine would find it that went off with this WAL."""
        for path in self.place.log.parent.glob(f"{self.place.log.name}*"):
            path.unlink()
        self.place.log.write_bytes(self.database)
        self._wal.write_bytes(wal)
        return open_log(self.place, "test")

    def check(self, wal: bytes, whole: int) -> None:
        """`whole`: so many frames are as they were written."""
        expected = self.heads[max(frames for frames in self.heads if frames <= whole)]
        log, newest = self.open(wal), self.anchors[len(self.rows)]
        try:
            assert self.rows[:expected] == list(log.read())
            kept = [anchor for seq, anchor in self.anchors.items() if seq <= expected]
            assert () == verify_log(log.reader, kept).problems
            assert (expected < newest.seq) == bool(verify_log(log.reader, [newest]).problems)
            assert [] == compare_curves(log)
            assert [expected + 1] == log.append(PauseRequested())
        finally:
            log.close()


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return Written(tmp_path_factory.mktemp("wal") / "workspace")


def test_a_wal_cut_at_any_frame_leaves_an_exact_prefix(cut_off: Written) -> None:
    frames = max(cut_off.heads)

    assert 50 < frames and len(cut_off.wal) == cut_off.start(frames)
    for frame in range(frames + 1):
        cut_off.check(cut_off.wal[: cut_off.start(frame)], frame)


def test_a_wal_cut_in_the_middle_of_any_frame_leaves_an_exact_prefix(cut_off: Written) -> None:
    for frame in range(max(cut_off.heads)):
        inside = 1 + (frame * 977) % (cut_off.frame - 1)
        cut_off.check(cut_off.wal[: cut_off.start(frame) + inside], frame)
    for inside in range(0, WAL_HEADER, 5):
        cut_off.check(cut_off.wal[:inside], 0)


def test_a_damaged_frame_ends_the_log_before_its_commit(cut_off: Written) -> None:
    for frame in range(max(cut_off.heads)):
        wal = bytearray(cut_off.wal)
        # all but the last 8 bytes of its header are in its checksum, and these are that
        wal[cut_off.start(frame) + (frame * 977) % cut_off.frame] ^= 1 << frame % 8
        cut_off.check(bytes(wal), frame)
