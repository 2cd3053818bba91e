"""The clean-up: what goes and in which order, what never goes, and every request answered."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from core.config import changes, digest
from core.decide.disk import target_bytes
from core.files import sha256_of
from core.jobs.disk import Disk, archived_bytes, listing
from core.jobs.service import Service
from core.logbook import open_log
from db.processes import RoleLock
from db.reserve import Reserve
from db.workspace import Workspace
from events.log import Log
from events.types import CheckpointDeleted, CheckpointQuarantined, CleanRequested, ConfigChanged, DiskCleaned
from tests.core.jobs.work import drop, facts, refuse, resume_point, take_in, train_one
from tests.small_disk import SmallDisk
from tests.sweep import killed_at_every_step

MIB = 1 << 20


def litter(place: Workspace) -> dict[str, Path]:
    """One of each kind of thing that may go; each takes a MiB."""
    found = {
        "leftovers": place.temporary / "half" / "model.safetensors",
        "tokens": place.tokens / "0123456789abcdef" / "ids.bin",
        "logs": place.logs / "daemon_20200101.log",
    }
    for path in found.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(MIB))
    (place.logs / "daemon_20200201.log").write_text("the newest")
    return found


def lived(service: Service) -> Service:
    """One file trained to a version, one waiting, one rejected."""
    drop(service, "done.jsonl")
    take_in(service)
    train_one(service)
    drop(service, "waiting.jsonl")
    drop(service, "bad.jsonl", "no json\n")
    take_in(service)
    return service


def configure(service: Service, **changed: object) -> None:
    before = service.state().workspace.config
    after = {**before, **changed}
    service.append(ConfigChanged(config=after, changes=changes(before, after), config_sha256=digest(after)))


def precious(service: Service) -> dict[str, str]:
    """Everything but what may go: path → hash."""
    place = service.workspace
    waiting = [service.state().inbox.files[sha].store or "" for sha in service.state().queue.waiting]
    folders = [
        place.queue,
        place.inbox,
        place.models,
        place.backups,
        *(place.tokens / key for key in waiting),
    ]
    return {
        place.relative(path): sha256_of(path)
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def ask(service: Service) -> int:
    (seq,) = service.log.append(CleanRequested())
    return seq


def test_a_request_takes_all_that_may_go_and_nothing_else(service: Service) -> None:
    lived(service)
    done = service.state().inbox.files[facts_sha(service, "done.jsonl")].store or ""
    things = litter(service.workspace)
    report = next(service.workspace.temporary.glob("report-*.json"))
    before = precious(service)
    disk = Disk(service.workspace)
    seq = ask(service)
    disk.care(service)
    (fact,) = facts(service, DiskCleaned)

    assert isinstance(fact, DiskCleaned)
    assert seq == fact.request
    assert {"leftovers", "tokens", "logs"} == set(fact.kinds)
    assert sum(fact.kinds.values()) == fact.freed_bytes >= 3 * MIB
    assert [] == [path for path in (*things.values(), report) if path.exists()]
    assert not (service.workspace.tokens / done).exists()
    assert (service.workspace.logs / "daemon_20200201.log").exists()
    assert before == precious(service)
    assert not service.state().control.pending


def facts_sha(service: Service, name: str) -> str:
    (found,) = [file.sha256 for file in service.state().inbox.files.values() if file.name == name]
    return found


def test_every_request_is_answered_also_when_there_is_nothing_to_free(service: Service) -> None:
    asked = [ask(service), ask(service)]
    disk = Disk(service.workspace)
    disk.care(service)
    head = service.log.head()
    disk.care(service)

    assert asked == [fact.request for fact in facts(service, DiskCleaned) if isinstance(fact, DiskCleaned)]
    assert {0} == {fact.freed_bytes for fact in facts(service, DiskCleaned) if isinstance(fact, DiskCleaned)}
    assert head == service.log.head()


def test_a_dry_run_names_what_then_goes_and_changes_nothing(service: Service) -> None:
    lived(service)
    litter(service.workspace)
    head = service.log.head()
    told = listing(service)
    everything = {path for path in service.workspace.root.rglob("*") if path.is_file()}

    assert head == service.log.head()
    assert [] == [item for item in told if not (service.workspace.root / item.path).exists() or not item.why]
    ask(service)
    Disk(service.workspace).care(service)
    (fact,) = facts(service, DiskCleaned)
    gone = everything - {path for path in service.workspace.root.rglob("*") if path.is_file()}
    assert isinstance(fact, DiskCleaned)
    assert sum(item.size for item in told) == fact.freed_bytes
    assert gone
    assert all(any(path.is_relative_to(service.workspace.root / i.path) for i in told) for path in gone)
    assert archived_bytes(service.workspace) > 0


@pytest.mark.parametrize("in_use", ["made later", "written since", "a trainer lives"])
def test_what_somebody_may_still_be_writing_stays(service: Service, in_use: str) -> None:
    path = service.workspace.temporary / "half"
    path.write_text("half")
    if in_use == "a trainer lives":
        with RoleLock(service.workspace.locks, "trainer"):
            disk = Disk(service.workspace)
    else:
        disk = Disk(service.workspace)
    if in_use == "made later":
        path.rename(service.workspace.temporary / "other")
        path = service.workspace.temporary / "other"
    if in_use == "written since":
        path.write_text("more than half")
    ask(service)
    disk.care(service)

    assert path.exists()


def test_partial_files_go_with_their_process(service: Service) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    disk = Disk(service.workspace)  # before they were begun
    folder = service.workspace.current_model
    dead, alive = (
        folder / f".checkpoint-7.partial-{ended.pid}",
        folder / f".checkpoint-8.partial-{os.getpid()}",
    )
    for path in (dead, alive):
        path.mkdir()
        (path / "model.safetensors").write_bytes(bytes(MIB))
    ask(service)
    disk.care(service)

    assert (False, True) == (dead.exists(), alive.exists())


def test_the_scratch_of_a_command_that_is_at_work_stays(service: Service) -> None:
    scratch = service.workspace.temporary / f".reproduction.partial-{os.getpid()}"
    scratch.mkdir(parents=True)
    disk = Disk(service.workspace)  # the command was there before the daemon
    told = [item.path for item in listing(service)]
    ask(service)
    disk.care(service)

    assert scratch.is_dir()
    assert service.workspace.relative(scratch) not in told


@pytest.mark.parametrize("stuck", ["leftovers", "tokens"])
def test_what_cannot_be_removed_keeps_nothing_else_and_the_request_is_answered(
    service: Service, monkeypatch: pytest.MonkeyPatch, stuck: str
) -> None:
    things = litter(service.workspace)
    disk = Disk(service.workspace)
    seq = ask(service)
    refuse(monkeypatch, things[stuck].parent)
    with pytest.raises(PermissionError, match=things[stuck].parent.name):
        disk.care(service)
    (fact,) = facts(service, DiskCleaned)

    assert isinstance(fact, DiskCleaned)
    assert seq == fact.request
    assert [stuck] == [kind for kind, path in things.items() if path.exists()]
    assert set(things) - {stuck} == set(fact.kinds)
    assert service.workspace.reserve.is_file()


def test_what_was_set_aside_lately_stays(service: Service) -> None:
    aside = service.workspace.quarantine / "checkpoint-7.1"
    aside.mkdir(parents=True)
    service.log.append(CheckpointQuarantined(path="models/current_model/checkpoint-7", problems=("flipped",)))
    ask(service)
    Disk(service.workspace).care(service)

    assert aside.exists()


# -- by itself ---------------------------------------------------------------------------------------


@pytest.fixture
def cramped(made: Path, small_disk: Callable[[int], SmallDisk]) -> tuple[SmallDisk, Service]:
    """The workspace on a disk of 40 MiB, whose target is a fifth of it."""
    disk = small_disk(40 * MIB)
    shutil.copytree(made, disk.root / "workspace")
    place = Workspace(disk.root / "workspace")
    service = Service(place, open_log(place, "daemon"))
    configure(service, disk_target_gb=50.0)
    Reserve(place.reserve).keep()
    return disk, service


def target(disk: SmallDisk) -> int:
    return int(target_bytes(50.0, shutil.disk_usage(disk.root).total))


@pytest.mark.parametrize(("short", "gone"), [(MIB // 2, 1), (MIB + MIB // 2, 2), (2 * MIB + MIB // 2, 3)])
def test_below_the_target_the_cheapest_goes_first_until_there_is_enough(
    cramped: tuple[SmallDisk, Service], short: int, gone: int
) -> None:
    disk, service = cramped
    things = litter(service.workspace)
    disk.fill(leave=target(disk) - short)
    job = Disk(service.workspace)
    job.care(service)
    (fact,) = facts(service, DiskCleaned)
    free = disk.free
    head = service.log.head()
    for _ in range(3):
        job.care(service)

    assert isinstance(fact, DiskCleaned)
    assert list(things)[:gone] == list(fact.kinds)
    assert [name for name, path in things.items() if not path.exists()] == list(things)[:gone]
    assert free >= target(disk)
    assert fact.request is None
    assert head == service.log.head()


def test_above_the_target_nothing_goes(cramped: tuple[SmallDisk, Service]) -> None:
    disk, service = cramped
    things = litter(service.workspace)
    disk.fill(leave=target(disk) + MIB)
    head = service.log.head()
    Disk(service.workspace).care(service)

    assert all(path.exists() for path in things.values())
    assert head == service.log.head()


def test_what_policy_retires_goes_last_in_its_own_words(cramped: tuple[SmallDisk, Service]) -> None:
    disk, service = cramped
    configure(service, disk_target_gb=50.0, checkpoints_keep=1)
    drop(service, "a.jsonl")
    take_in(service)
    train_one(service)
    drop(service, "b.jsonl")
    take_in(service)
    train_one(service)
    resume_point(service, "r", 99)
    disk.fill(leave=0)
    Disk(service.workspace).care(service)

    assert facts(service, CheckpointDeleted)
    assert () == service.state().storage.retired


# -- killed ------------------------------------------------------------------------------------------


def test_killed_at_any_step_it_is_finished_and_nothing_else_is_missing(made: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    shutil.copytree(made, whole)
    opened = open_log(Workspace(whole), "daemon")
    service = lived(Service(Workspace(whole), opened))
    seq = ask(service)
    before = precious(service)
    opened.close()
    litter(Workspace(whole))

    def prepare(n: int) -> Path:
        root = tmp_path / "trial"
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run(["cp", "-a", str(whole), str(root)], check=True)
        return root

    def work(root: Path) -> None:
        log = Log(root / "evertrain.sqlite", "daemon")
        Disk(Workspace(root)).care(Service(Workspace(root), log))
        log.close()

    trials = 0
    for root in killed_at_every_step(prepare, work):
        trials += 1
        log = open_log(Workspace(root), "daemon")
        after = Service(Workspace(root), log)
        Disk(Workspace(root)).care(after)
        answers = [f.request for f in facts(after, DiskCleaned) if isinstance(f, DiskCleaned)]
        assert [seq] == answers
        assert [] == [i.path for i in listing(after)]
        assert before == precious(after)
        log.close()

    assert trials > 10


def test_the_sample_for_the_pages_has_the_bytes_by_kind(service: Service) -> None:
    lived(service)
    litter(service.workspace)
    usage = Disk(service.workspace).usage(service)

    assert {"kinds", "reclaimable"} == set(json.loads(json.dumps(usage)))
    assert usage["kinds"]["tokens"] > MIB
    assert sum(usage["reclaimable"].values()) == sum(item.size for item in listing(service))


def test_a_waiting_save_of_a_trainer_that_ended_is_no_longer_waited_for(service: Service) -> None:
    from events.types import AlertRaised

    drop(service, "a.jsonl")
    take_in(service)
    service.log.append(AlertRaised(severity="serious", type="waiting:save", detail="no room"))
    disk = Disk(service.workspace)
    with RoleLock(service.workspace.locks, "trainer"):
        disk.care(service)
        during = "waiting:save" in service.state().health.alerts
    disk.care(service)

    assert during
    assert "waiting:save" not in service.state().health.alerts
