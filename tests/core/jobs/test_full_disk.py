"""No space, wherever it happens: nothing is lost, it is said, and it goes on when there is space again."""

import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.config import changes, digest
from core.decide.disk import amount
from core.files import sha256_of
from core.inspection import folder_problems, inspect
from core.jobs.arrange import arrange
from core.jobs.backup import Backups, backup
from core.jobs.disk import Disk
from core.jobs.dispatch import start_next
from core.jobs.publish import publish
from core.jobs.service import Service
from core.jobs.showing import Journal, document
from core.jobs.table import Inbox, Job, run
from core.jobs.validate import validate_all
from core.logbook import open_log
from db.reserve import Reserve
from db.workspace import Workspace
from events.types import (
    AlertRaised,
    BackupRequested,
    BackupVerified,
    CheckpointDeleted,
    CleanRequested,
    ConfigChanged,
    DiskCleaned,
    FileQueued,
    FileReceived,
    FileRejected,
    JobFailed,
    PauseRequested,
    TrainingStarted,
    VersionPublished,
)
from events.verify import verify_log
from projections.fold import State
from tests.core.jobs.work import complete, drop, entry, facts, resume_point, rows, take_in, train_one
from tests.small_disk import SmallDisk

MIB = 1 << 20
SIZE = 40 * MIB
LITTLE = 3 * MIB // 8  # neither the large file nor its tokens fit
BIG = rows("a large file", 5_000)

Cramped = tuple[SmallDisk, Service]


@pytest.fixture
def cramped(made: Path, small_disk: Callable[[int], SmallDisk]) -> Iterator[Cramped]:
    """A workspace on a disk of 40 MiB, with its reserve."""
    disk = small_disk(SIZE)
    shutil.copytree(made, disk.root / "workspace")
    place = Workspace(disk.root / "workspace")
    log = open_log(place, "daemon")
    service = Service(place, log)
    Reserve(place.reserve).keep()
    yield disk, service
    log.close()


def configure(service: Service, **changed: object) -> None:
    before = service.state().workspace.config
    after = {**before, **changed}
    service.append(ConfigChanged(config=after, changes=changes(before, after), config_sha256=digest(after)))


def alerts(service: Service) -> dict[str, str]:
    return {alert.type: alert.detail for alert in service.state().health.alerts.values()}


def status(service: Service) -> tuple[str, str | None]:
    """As the command and the page would say it, with a daemon at work."""
    service.log.beat("daemon", 1, "idle")
    found = document(service)
    return found["status"], found["waiting_for"]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file may grow past so many bytes: to a writer the same as a quota. (Python ignores SIGXFSZ.)"""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def partials(place: Workspace) -> list[Path]:
    return [path for path in place.root.rglob("*") if "partial" in path.name or path.name == "copying"]


def waited(service: Service, job: Job) -> str:
    """Two turns without space: one alert, no failure; gives its words."""
    run(service, job)
    run(service, job)
    told = [f for f in facts(service, AlertRaised) if isinstance(f, AlertRaised)]
    assert [f"waiting:{job.name}"] == [f.type for f in told]
    assert [] == facts(service, JobFailed)
    return told[0].detail


# -- receive -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["disk", "quota"])
def test_receive(cramped: Cramped, how: str) -> None:
    disk, service = cramped
    source = drop(service, "a.jsonl", BIG)
    small, sha256 = drop(service, "small.jsonl"), sha256_of(source)
    inbox = Inbox()
    job = Job("poll", 1.0, inbox.poll)
    if how == "disk":
        disk.fill(leave=LITTLE)
        why = waited(service, job)
        assert "taking in a.jsonl needs" in why and f"{amount(LITTLE)} are free" in why
    else:
        with file_size_limit(len(BIG) - 1000):
            waited(service, job)
    during = source.exists(), small.exists(), inbox.empty, partials(service.workspace)
    said = status(service)
    disk.relieve()
    run(service, Job("poll", 1.0, Inbox().poll))  # whatever the poll's interval still has to wait

    assert (True, False, False, []) == during  # the smaller one found room
    assert "waiting" == said[0]
    assert sha256 in {f.sha256 for f in facts(service, FileReceived) if isinstance(f, FileReceived)}
    assert not source.exists()
    assert {} == alerts(service)


# -- tokenize ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["disk", "quota"])
def test_tokenize(cramped: Cramped, how: str) -> None:
    disk, service = cramped
    drop(service, "a.jsonl", BIG)
    inbox = Inbox()
    run(service, Job("poll", 1.0, inbox.poll))
    arrange(service)
    job = Job("validate", 1.0, validate_all)
    if how == "disk":
        disk.fill(leave=LITTLE)
        assert "the tokens of a.jsonl" in waited(service, job)
    else:
        with file_size_limit(LITTLE):
            waited(service, job)
    during = entry(service, "a.jsonl").state, partials(service.workspace), facts(service, FileRejected)
    said = status(service)
    disk.relieve()
    run(service, job)

    assert ("validating", [], []) == during
    assert "waiting" == said[0]
    assert 1 == len(facts(service, FileQueued))
    assert 0 == entry(service, "a.jsonl").attempts
    assert {} == alerts(service)


# -- publish -----------------------------------------------------------------------------------------


def test_publish(cramped: Cramped) -> None:
    disk, service = cramped
    drop(service, "a.jsonl")
    take_in(service)
    start_next(service)
    arrange(service)
    complete(service)
    disk.fill()
    job = Job("publish", 1.0, publish)
    why = waited(service, job)
    said = status(service)
    disk.relieve()
    run(service, job)
    (fact,) = facts(service, VersionPublished)

    assert isinstance(fact, VersionPublished)
    assert "v0001" in why
    assert ("waiting", why) == said
    assert [] == folder_problems(service.workspace.root / fact.path, fact.manifest_sha256)
    assert fact.weights_sha256 == sha256_of(service.workspace.current_model / "model.safetensors")
    assert {} == alerts(service)


@pytest.fixture
def backed_up(cramped: Cramped) -> Cramped:
    """A version on it, and a backup of that."""
    _, service = cramped
    drop(service, "a.jsonl", rows("a", 8))
    take_in(service)
    train_one(service)
    backup(service)
    return cramped


@pytest.mark.parametrize("leave", [0, LITTLE], ids=["no byte", "room for a copy of the log"])
def test_backup(backed_up: Cramped, leave: int) -> None:
    disk, service = backed_up
    held = sorted(service.workspace.backups.rglob("*"))
    (request,) = service.append(BackupRequested())
    disk.fill(leave)
    job = Job("backup", 1.0, Backups().turn)
    why, said = waited(service, job), status(service)
    during = service.state()
    written = sorted(service.workspace.backups.rglob("*"))
    disk.relieve()
    run(service, job)
    verified = [fact.request for fact in facts(service, BackupVerified) if isinstance(fact, BackupVerified)]

    assert "the backup b0002 needs" in why and " are free" in why
    assert ("waiting", why) == said
    assert [("b0001", "verified"), ("b0002", "writing")] == states(during)
    assert [request] == [pending.seq for pending in during.control.pending]
    assert held == written
    assert [("b0002", "verified")] == states(service.state())  # and the older one went, as the policy says
    assert [None, request] == verified
    assert {} == alerts(service)
    assert [] == inspect(service.workspace, service.state(), deep=True)


def states(state: State) -> list[tuple[str, str]]:
    return [(one.id, one.state) for one in state.storage.backups_in()]


# -- the log -----------------------------------------------------------------------------------------


def use_up(service: Service) -> None:
    """Facts until the log takes none any more."""
    Reserve(service.workspace.reserve).release()
    try:
        while True:
            service.log.append(PauseRequested())
    except OSError:
        return


def test_a_log_without_room_stops_no_job_for_ever(cramped: Cramped) -> None:
    disk, service = cramped
    drop(service, "a.jsonl")
    take_in(service)
    shown: list[Any] = []
    disk.fill()
    use_up(service)
    disk.fill()
    head = service.log.head()

    def work(service: Service) -> None:
        service.log.append(PauseRequested())
        shown.append(service.log.head())

    job = Job("teller", 1.0, work)
    for _ in range(3):
        run(service, job)
    during = service.log.head(), list(shown)
    disk.relieve()
    run(service, job)

    assert (head, []) == during
    assert [head + 1] == shown
    assert () == verify_log(service.log.reader).problems


def test_the_days_log_loses_no_line(cramped: Cramped) -> None:
    disk, service = cramped
    journal = Journal(service)
    job = Job("journal", 1.0, journal.write)
    after = service.log.head()
    disk.fill()
    service.log.append(*[PauseRequested()] * 500)
    disk.fill()
    run(service, job)
    disk.relieve()
    run(service, job)
    lines = "".join(p.read_text() for p in sorted(service.workspace.logs.glob("daemon_*.log"))).splitlines()

    expected = [each.seq for each in service.log.read(after) if not isinstance(each.event, AlertRaised)]
    told = [int(line.split("#")[1].split()[0]) for line in lines if "PauseRequested" in line]
    assert expected[:500] == told


# -- cleaning with no byte free ----------------------------------------------------------------------


def test_retention_clean_up_and_their_facts_work_with_no_byte_free(cramped: Cramped) -> None:
    disk, service = cramped
    drop(service, "a.jsonl")
    take_in(service)
    train_one(service)
    for n in range(3):
        resume_point(service, "r", 90 + n)
    configure(service, checkpoints_keep=1)
    left = service.workspace.temporary / "half"
    left.write_bytes(bytes(MIB))
    job = Disk(service.workspace)
    disk.fill()
    before = disk.free
    (seq,) = service.log.append(CleanRequested())
    run(service, Job("disk", 1.0, job.care))
    (fact,) = facts(service, DiskCleaned)

    assert isinstance(fact, DiskCleaned)
    assert 0 == before
    assert seq == fact.request
    assert {"leftovers", "retired"} <= set(fact.kinds)
    assert facts(service, CheckpointDeleted)
    assert not left.exists()
    assert [] == facts(service, JobFailed)
    assert () == verify_log(service.log.reader).problems


# -- before a run ------------------------------------------------------------------------------------


def test_below_the_floor_nothing_starts_and_no_try_is_counted(cramped: Cramped) -> None:
    disk, service = cramped
    configure(service, disk_floor_gb=10.0)
    drop(service, "a.jsonl")
    take_in(service)
    job, dispatch = Disk(service.workspace), Job("dispatch", 1.0, start_next)
    disk.fill(leave=int(0.04 * SIZE))  # the floor is 5 % of so small a disk
    job.care(service)
    run(service, dispatch)
    said = status(service)
    during = entry(service, "a.jsonl").attempts, facts(service, TrainingStarted)
    disk.relieve()
    job.care(service)
    run(service, dispatch)

    assert "waiting" == said[0] and said[1] is not None and "disk_floor_gb" in said[1]
    assert (0, []) == during
    assert 1 == len(facts(service, TrainingStarted))
    assert {} == alerts(service)


def test_a_run_whose_resume_points_would_not_fit_waits_with_both_figures(cramped: Cramped) -> None:
    disk, service = cramped
    drop(service, "a.jsonl")
    take_in(service)
    dispatch = Job("dispatch", 1.0, start_next)
    disk.fill(leave=2 * MIB)
    run(service, dispatch)
    run(service, dispatch)
    said = status(service)
    during = entry(service, "a.jsonl").attempts, facts(service, TrainingStarted)
    disk.relieve()
    run(service, dispatch)

    assert "waiting" == said[0] and said[1] is not None
    assert "training a.jsonl needs" in said[1] and f"{amount(2 * MIB)} are free" in said[1]
    assert (0, []) == during
    assert 1 == len([f for f in facts(service, AlertRaised)])
    assert 1 == len(facts(service, TrainingStarted))
    assert {} == alerts(service)


def test_a_file_that_leaves_the_queue_is_not_waited_for(cramped: Cramped) -> None:
    disk, service = cramped
    path = drop(service, "a.jsonl")
    take_in(service)
    disk.fill(leave=MIB)
    start_next(service)
    during = alerts(service)
    place = service.workspace.root / (entry(service, "a.jsonl").placed or "")
    place.unlink()
    Inbox().poll(service)
    start_next(service)

    assert not path.exists()
    assert ["waiting:run"] == list(during)
    assert "waiting:run" not in alerts(service)
