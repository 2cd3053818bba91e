"""Releases as the daemon makes them: computed apart, verified, told; and no crash leaves half of one."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from core.decide.consolidation import IDLE_US, plan
from core.files import sha256_of
from core.inspection import folder_problems, inspect
from core.jobs.arrange import arrange
from core.jobs.consolidation import (
    Consolidation,
    ReleaseFailed,
    answer_consolidation,
    publish_release,
)
from core.jobs.dispatch import start_next
from core.jobs.publish import publish
from core.jobs.service import Service
from core.logbook import open_log
from core.model.consolidation import consolidate
from db.workspace import Workspace
from events.log import now_us
from events.types import (
    CheckpointQuarantined,
    CheckpointSaved,
    ConsolidateRequested,
    DriftFound,
    RequestRefused,
    VersionPublished,
)
from projections.storage import Checkpoint
from tests.core.jobs.work import complete, drop, facts, take_in, train_one
from tests.facts import specimen
from tests.sweep import killed_at_every_step


@pytest.fixture(scope="module")
def trained(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with v0001 … v0003 and their resume points, and a request for the mean of three."""
    root = tmp_path_factory.mktemp("trained") / "workspace"
    shutil.copytree(made, root)
    workspace = Workspace(root)
    service = Service(workspace, open_log(workspace, "daemon"))
    for name in ("a.jsonl", "b.jsonl", "c.jsonl"):
        drop(service, name)
    take_in(service)
    for _ in range(3):
        train_one(service)
    service.log.append(ConsolidateRequested(average=3))
    service.log.close()
    return root


@pytest.fixture(scope="module")
def computed(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the computing process stages for that request."""
    folder = tmp_path_factory.mktemp("computed")
    current = Workspace(trained).current_model
    consolidate([current / f"checkpoint-{step}" for step in (21, 14, 7)], folder)
    return folder


@pytest.fixture
def kept(trained: Path, tmp_path: Path) -> Service:
    """The daemon's hands on a copy of it."""
    shutil.copytree(trained, tmp_path / "kept")
    workspace = Workspace(tmp_path / "kept")
    return Service(workspace, open_log(workspace, "daemon"))


def hashes(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): sha256_of(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_mean_of_three_is_a_version_that_changes_nothing_else(kept: Service) -> None:
    before, current = kept.state(), hashes(kept.workspace.current_model)
    answer_consolidation(kept)
    state = kept.state()
    fact = facts(kept, VersionPublished)[-1]
    assert isinstance(fact, VersionPublished)
    folder = kept.workspace.root / fact.path
    manifest = json.loads((folder / "manifest.json").read_text())
    points = [kept.workspace.root / point.path for point in before.storage.usable]
    made = load_file(folder / "model.safetensors")
    read = [load_file(point / "model.safetensors") for point in points]
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)

    for name, tensor in made.items():
        exact = np.mean([each[name].double().numpy() for each in read], axis=0)
        assert torch.equal(torch.from_numpy(exact).float().bfloat16(), tensor), name
    assert ("release", "v0003", before.storage.usable[0].run) == (fact.kind, fact.parent, fact.run)
    assert tuple(point.path for point in before.storage.usable) == fact.sources
    assert (list(fact.sources), "bfloat16") == (manifest["sources"], manifest["dtype"])
    assert [] == folder_problems(folder, fact.manifest_sha256)
    assert {torch.bfloat16} == {parameter.dtype for parameter in model.parameters()}
    assert (folder / "tokenizer.json").exists()
    assert "bfloat16" in (folder / "README.md").read_text(encoding="utf-8")
    assert () == state.control.pending
    assert (before.run.global_step, "v0003") == (state.run.global_step, state.versions.current)
    assert before.storage == state.storage
    assert current == hashes(kept.workspace.current_model)
    assert [] == inspect(kept.workspace, state, deep=True)


def test_a_damaged_source_is_quarantined_and_too_few_are_refused(kept: Service) -> None:
    oldest = kept.state().storage.usable[-1]
    weights = kept.workspace.root / oldest.path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    answer_consolidation(kept)
    (damaged,), (refusal,) = facts(kept, CheckpointQuarantined), facts(kept, RequestRefused)

    assert isinstance(damaged, CheckpointQuarantined)
    assert isinstance(refusal, RequestRefused)
    assert oldest.path == damaged.path
    assert "only 2 usable resume points" in refusal.reason
    assert ["v0001", "v0002", "v0003"] == [path.name for path in sorted(kept.workspace.versions.iterdir())]


def later() -> int:
    """Two hours from now, in µs."""
    return now_us() + 2 * IDLE_US


def test_after_an_idle_hour_a_release_is_made_unasked_and_only_one(service: Service) -> None:
    drop(service, "a.jsonl")
    take_in(service)
    train_one(service)
    job, patient = Consolidation(), Consolidation(later)
    job.work(service)
    at_once = len(service.state().versions.order)
    patient.work(service)
    patient.work(service)
    versions = service.state().versions

    assert 1 == at_once
    assert ["run", "release"] == [versions.versions[name].kind for name in versions.order]
    assert "v0001" == versions.current == versions.versions["v0002"].parent


@pytest.mark.chaos
def test_an_unasked_one_that_fails_is_told_each_turn_and_not_tried_again_at_once(service: Service) -> None:
    drop(service, "a.jsonl")
    take_in(service)
    train_one(service)
    _fill_with_the_largest(service, service.state().storage.usable[0])
    job = Consolidation(later)
    told = []
    for _ in range(2):
        with pytest.raises(ReleaseFailed) as failure:
            job.work(service)
        told.append((str(failure.value), time.monotonic()))

    assert "is not finite in bf16" in told[0][0]
    assert told[0][0] == told[1][0]
    assert told[1][1] - told[0][1] < 0.5  # no process was started


@pytest.mark.chaos
def test_what_the_process_says_is_the_reason_of_the_refusal(kept: Service) -> None:
    for point in reversed(kept.state().storage.usable[:2]):  # the newest stays the newest
        _fill_with_the_largest(kept, point)  # each is finite, their sum is not
    answer_consolidation(kept)
    (refusal,) = facts(kept, RequestRefused)

    assert isinstance(refusal, RequestRefused)
    assert "the release could not be made" in refusal.reason
    assert "is not finite in bf16" in refusal.reason
    assert ["v0001", "v0002", "v0003"] == [path.name for path in sorted(kept.workspace.versions.iterdir())]


def _fill_with_the_largest(service: Service, point: Checkpoint) -> None:
    """One tensor of a resume point, as if it had been saved so."""
    folder = service.workspace.root / point.path
    weights = load_file(folder / "model.safetensors")
    next(iter(weights.values())).fill_(torch.finfo(torch.float32).max)
    (folder / "model.safetensors").unlink()
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["model.safetensors"]["sha256"] = sha256_of(folder / "model.safetensors")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    service.log.append(
        specimen(
            CheckpointSaved, run=point.run, step=point.step, global_step=point.global_step, path=point.path,
            manifest_sha256=sha256_of(folder / "manifest.json"), reason=point.reason,
        )
    )  # fmt: skip


def test_a_service_that_stops_leaves_the_request_open_and_nothing_behind(kept: Service) -> None:
    kept.stop.set()
    answer_consolidation(kept)
    Consolidation().work(kept)

    assert kept.state().control.first("ConsolidateRequested") is not None
    assert ["v0001", "v0002", "v0003"] == [path.name for path in sorted(kept.workspace.versions.iterdir())]


# -- killed at every step --------------------------------------------------------------------------------


def publish_staged(root: Path) -> None:
    """What a daemon does once the computing process has ended."""
    workspace = Workspace(root)
    service = Service(workspace, open_log(workspace, "daemon"))
    state = service.state()
    wanted = plan(state, state.control.first("ConsolidateRequested"))
    assert wanted is not None
    partial = workspace.versions / ".release.partial"
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(workspace.temporary / "computed", partial)
    publish_release(service, wanted, partial)
    service.log.close()


def a_daemons_turn(root: Path) -> None:
    workspace = Workspace(root)
    service = Service(workspace, open_log(workspace, "daemon"))
    answer_consolidation(service)
    service.log.close()


def whole(root: Path, protected: dict[str, str]) -> None:
    """One release, told once; nothing else lost or changed; nothing left over."""
    workspace = Workspace(root)
    log = open_log(workspace, "test")
    service = Service(workspace, log)
    releases = [v for v in service.state().versions if v.kind == "release"]
    assert ["v0004"] == [release.id for release in releases]
    assert [] == inspect(workspace, service.state(), deep=True)
    assert [] == facts(service, DriftFound)
    assert protected.items() <= hashes(root / "models").items()
    assert [] == list(workspace.versions.glob(".*"))
    log.close()


def test_publishing_a_release_killed_before_any_of_its_steps_is_whole_after_the_next_try(
    trained: Path, computed: Path, tmp_path: Path
) -> None:
    protected = hashes(trained / "models")

    def prepare(n: int) -> Path:
        root = tmp_path / "swept"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(trained, root)
        shutil.copytree(computed, Workspace(root).temporary / "computed")
        return root

    trials = 0
    for root in killed_at_every_step(prepare, publish_staged):
        trials += 1
        log = open_log(Workspace(root), "test")
        told = Service(Workspace(root), log).state().control.first("ConsolidateRequested") is None
        log.close()
        if not told:
            publish_staged(root)
        whole(root, protected)
    untold = tmp_path / "untold"  # as a crash between the rename and the fact leaves it
    shutil.copytree(root / "models" / "versions" / "v0004", untold)
    root = prepare(0)
    shutil.copytree(untold, root / "models" / "versions" / "v0004")
    publish_staged(root)
    whole(root, protected)

    assert trials > 8


def test_a_release_that_was_never_told_gives_way_to_the_version_that_is_due(
    trained: Path, computed: Path, tmp_path: Path
) -> None:
    for name in ("one", "other"):
        shutil.copytree(trained, tmp_path / name)
    shutil.copytree(computed, Workspace(tmp_path / "one").temporary / "computed")
    publish_staged(tmp_path / "one")
    workspace = Workspace(tmp_path / "other")
    log = open_log(workspace, "daemon")
    service = Service(workspace, log)
    shutil.copytree(Workspace(tmp_path / "one").versions / "v0004", workspace.versions / "v0004")
    drop(service, "d.jsonl")
    take_in(service)
    start_next(service)
    arrange(service)
    complete(service)
    publish(service)
    kinds = [(v.id, v.kind) for v in service.state().versions]
    problems, drifts = inspect(workspace, service.state(), deep=True), facts(service, DriftFound)
    log.close()

    assert ("v0004", "run") == kinds[-1]
    assert [] == problems == drifts


@pytest.mark.chaos
@pytest.mark.timeout(3600)
def test_a_whole_consolidation_killed_before_any_of_its_steps_is_finished_by_the_next_daemon(
    trained: Path, tmp_path: Path
) -> None:
    protected = hashes(trained / "models")

    def prepare(n: int) -> Path:
        root = tmp_path / "swept"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(trained, root)
        return root

    for root in killed_at_every_step(prepare, a_daemons_turn):
        a_daemons_turn(root)
        whole(root, protected)
