"""Pins and restores: what is answered, what is refused, and that no crash leaves half of a restore."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from core.files import sha256_of
from core.inspection import inspect
from core.jobs.arrange import arrange
from core.jobs.dispatch import answer, start_next
from core.jobs.publish import publish, show_current
from core.jobs.service import Service
from core.jobs.versions import keep_versions
from core.logbook import open_log
from db.workspace import Workspace
from events.types import (
    CheckpointQuarantined,
    DriftFound,
    Event,
    PinRequested,
    RequestRefused,
    RestoreRequested,
    StopRequested,
    TrainingStarted,
    UnpinRequested,
    VersionPinned,
    VersionRestored,
    VersionUnpinned,
)
from tests.core.jobs.work import complete, drop, facts, take_in, train_one
from tests.sweep import killed_at_every_step


def three_versions(service: Service) -> Service:
    for name in ("a.jsonl", "b.jsonl", "c.jsonl"):
        drop(service, name)
    take_in(service)
    for _ in range(3):
        train_one(service)
    return service


@pytest.fixture(scope="module")
def trained(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with v0001 … v0003; only to be copied."""
    root = tmp_path_factory.mktemp("trained") / "workspace"
    shutil.copytree(made, root)
    log = open_log(Workspace(root), "daemon")
    three_versions(Service(Workspace(root), log))
    log.close()
    return root


@pytest.fixture
def kept(trained: Path, tmp_path: Path) -> Service:
    """The daemon's hands on a copy of it."""
    shutil.copytree(trained, tmp_path / "kept")
    workspace = Workspace(tmp_path / "kept")
    return Service(workspace, open_log(workspace, "daemon"))


def asks(service: Service, *requests: Event) -> list[Event]:
    """The facts that these requests led to."""
    before = service.log.head() + len(requests)
    service.log.append(*requests)
    keep_versions(service)
    return [recorded.event for recorded in service.log.read(before)]


def refusal(service: Service, request: Event) -> str:
    found = asks(service, request)
    (refused,) = [fact for fact in found if isinstance(fact, RequestRefused)]
    assert request is not None and not any(isinstance(fact, VersionRestored) for fact in found)
    return refused.reason


def hashes(folder: Path) -> dict[str, str]:
    return {p.name: sha256_of(p) for p in sorted(folder.iterdir()) if p.is_file()}


def model(service: Service) -> dict[str, str]:
    """What a loader reads of the current model."""
    found = hashes(service.workspace.current_model)
    found.pop("evertrain.json")
    return found


def test_a_restore_is_a_fact_and_the_current_model_shows_the_version(kept: Service) -> None:
    first = kept.workspace.versions / "v0001"
    (told,) = asks(kept, RestoreRequested(version="v0001"))
    wanted = kept.state().versions.versions["v0001"]

    assert isinstance(told, VersionRestored)
    assert ("v0001", "v0003", wanted.global_step) == (told.version, told.before, told.global_step)
    assert "kept" == told.moments
    assert hashes(first) == model(kept)
    assert "v0001" == json.loads((kept.workspace.current_model / "evertrain.json").read_text())["version"]
    assert "v0001" == kept.state().versions.current
    assert wanted.global_step == kept.state().run.global_step
    assert [] == inspect(kept.workspace, kept.state(), deep=True)


def test_the_queue_stays_and_the_next_file_descends_from_the_restored_version(kept: Service) -> None:
    drop(kept, "d.jsonl")
    take_in(kept)
    waiting = kept.state().queue.waiting
    asks(kept, RestoreRequested(version="v0001"))
    still = kept.state().queue.waiting
    train_one(kept)
    last = facts(kept, TrainingStarted)[-1]
    versions = kept.state().versions

    assert waiting == still != ()
    assert isinstance(last, TrainingStarted)
    assert ("v0001", versions.versions["v0001"].global_step) == (last.parent, last.global_step)
    assert ("v0004", "v0001") == (versions.current, versions.versions["v0004"].parent)


def test_a_damaged_resume_point_is_quarantined_and_the_moments_begin_anew(kept: Service) -> None:
    state = kept.state()
    (point,) = [
        c for c in state.storage.usable if c.global_step == state.versions.versions["v0002"].global_step
    ]
    manifest = kept.workspace.root / point.path / "manifest.json"
    manifest.write_bytes(b"{}")
    found = asks(kept, RestoreRequested(version="v0002"))

    assert [CheckpointQuarantined, VersionRestored] == [type(fact) for fact in found]
    assert "fresh" == found[1].moments  # type: ignore[attr-defined]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink()  # a new file: no link is written through
    path.write_bytes(data)


def spoil(path: Path) -> None:
    """Weights with a NaN, and a manifest that agrees: as if training had published it."""
    data = bytearray(path.read_bytes())
    data[-4:] = np.float32(np.nan).tobytes()
    path.unlink()
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "manifest.json"])
def test_a_damaged_version_is_refused_with_the_current_model_untouched(kept: Service, name: str) -> None:
    before = hashes(kept.workspace.current_model)
    flip(kept.workspace.versions / "v0001" / name)
    reason = refusal(kept, RestoreRequested(version="v0001"))
    (drift,) = facts(kept, DriftFound)

    assert "v0001 is damaged" in reason
    assert "backup" in reason
    assert name in reason
    assert before == hashes(kept.workspace.current_model)
    assert isinstance(drift, DriftFound)
    assert ("version", "models/versions/v0001") == (drift.kind, drift.path)
    assert "v0003" == kept.state().versions.current


def test_weights_that_are_not_finite_are_refused(service: Service) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        drop(service, name)
    take_in(service)
    answer(service)
    start_next(service)
    arrange(service)
    complete(service)
    due = service.state().versions.due[0].event.checkpoint
    spoil(service.workspace.root / due / "model.safetensors")
    keep_versions(service)
    publish(service)
    arrange(service)
    train_one(service)
    reason = refusal(service, RestoreRequested(version="v0001"))

    assert "is not finite" in reason
    assert "v0002" == service.state().versions.current


def test_what_is_not_there_not_kept_or_current_already_is_refused(kept: Service) -> None:
    assert "there is no version v0009" in refusal(kept, RestoreRequested(version="v0009"))
    assert "v0003 is what the model is already" == refusal(kept, RestoreRequested(version="v0003"))


def test_while_a_file_trains_or_a_version_is_due_a_restore_is_refused_and_says_what_to_do(
    kept: Service,
) -> None:
    drop(kept, "d.jsonl")
    take_in(kept)
    start_next(kept)
    arrange(kept)
    training = refusal(kept, RestoreRequested(version="v0001"))
    complete(kept)
    due = refusal(kept, RestoreRequested(version="v0001"))

    assert "d.jsonl is being trained" in training
    assert "evertrain stop" in training
    assert "ask again in a moment" in due


def test_a_stop_that_was_asked_for_first_is_waited_for(kept: Service) -> None:
    drop(kept, "d.jsonl")
    take_in(kept)
    start_next(kept)
    arrange(kept)
    nothing = asks(kept, StopRequested(), RestoreRequested(version="v0001"))
    answer(kept)
    keep_versions(kept)

    assert [] == nothing
    assert 1 == len(facts(kept, VersionRestored))
    assert [] == facts(kept, RequestRefused)


def test_without_room_for_the_files_it_is_refused_and_nothing_is_left(
    kept: Service,
) -> None:
    before = hashes(kept.workspace.current_model)
    current = kept.workspace.current_model
    (current / ".README.md.partial").mkdir()  # in the way of staging
    reason = refusal(kept, RestoreRequested(version="v0001"))

    assert "cannot be made ready" in reason
    assert before == hashes(current)
    assert "v0003" == kept.state().versions.current


def test_pins_are_facts_and_what_changes_nothing_is_refused(kept: Service) -> None:
    told = [
        asks(kept, request)[0]
        for request in (
            PinRequested(version="v0001"), PinRequested(version="v0001"), UnpinRequested(version="v0001"),
            UnpinRequested(version="v0001"), PinRequested(version="v0009"),
        )
    ]  # fmt: skip

    assert [VersionPinned, RequestRefused, VersionUnpinned, RequestRefused, RequestRefused] == [
        type(fact) for fact in told
    ]
    assert "v0001 is pinned already" == told[1].reason  # type: ignore[attr-defined]
    assert "v0001 is not pinned" == told[3].reason  # type: ignore[attr-defined]


# -- killed at every step --------------------------------------------------------------------------------


def daemon(root: Path) -> None:
    """A daemon's first turn."""
    workspace = Workspace(root)
    log = open_log(workspace, "daemon")
    service = Service(workspace, log)
    show_current(service)
    keep_versions(service)
    log.close()


def loads(folder: Path) -> str:
    """What a loader does first; the weights' hash."""
    json.loads((folder / "config.json").read_text())
    json.loads((folder / "tokenizer.json").read_text())
    with safe_open(folder / "model.safetensors", framework="numpy") as weights:
        assert weights.keys()
    return sha256_of(folder / "model.safetensors")


def test_a_restore_killed_before_any_of_its_steps_is_whole_after_the_next_turn(
    trained: Path, tmp_path: Path
) -> None:
    versions = trained / "models" / "versions"
    old, new = (sha256_of(versions / name / "model.safetensors") for name in ("v0003", "v0001"))
    kept = hashes(versions / "v0001")
    seen, trials = set(), 0

    def prepare(n: int) -> Path:
        root = tmp_path / "swept"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(trained, root)
        log = open_log(Workspace(root), "cli")
        log.append(RestoreRequested(version="v0001"))
        log.close()
        return root

    for root in killed_at_every_step(prepare, daemon):
        trials += 1
        workspace = Workspace(root)
        seen.add(loads(workspace.current_model))
        daemon(root)
        log = open_log(workspace, "test")
        service = Service(workspace, log)
        assert kept == model(service) == hashes(root / "models" / "versions" / "v0001")
        assert 1 == len(facts(service, VersionRestored))
        assert "v0001" == service.state().versions.current
        assert [] == inspect(workspace, service.state(), deep=True)
        assert [] == list(workspace.current_model.glob(".*partial*"))
        log.close()

    assert {old, new} == seen
    assert trials > 10
