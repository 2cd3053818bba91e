"""After a restore: the next run gives the very bits of a workspace that never trained what came between."""

from collections.abc import Callable
from typing import Any

from core.decide import dispatch
from core.decide.crash import Evidence, alarm, analyse
from core.files import sha256_of
from core.jobs.dispatch import answer, give_up
from core.jobs.publish import publish
from core.jobs.service import Service
from core.jobs.versions import keep_versions
from core.safety.evidence import words
from core.train.__main__ import serve
from db.processes import Stop
from events.types import (
    CheckpointDeleted,
    CheckpointRetired,
    CheckpointSaved,
    DriftFound,
    ProcessCrashed,
    RestoreRequested,
    SkipRequested,
    TrainingCompleted,
    TrainingFailed,
    TrainingStarted,
    VersionPublished,
    VersionRestored,
)
from tests.core.train.stand import Stand, StopAfter

Make = Callable[..., Stand]


def trains(stand: Stand, *names: str) -> Service:
    """Each file, from its start to its version."""
    service = Service(stand.workspace, stand.log)
    for name in names:
        stand.start(stand.queue(name, rows=40, seed=ord(name)))
        stand.train()
        publish(service)
    return service


def restores(stand: Stand, version: str) -> VersionRestored:
    stand.log.append(RestoreRequested(version=version))
    keep_versions(Service(stand.workspace, stand.log))
    newest = stand.log.newest(VersionRestored)
    assert newest is not None and isinstance(newest.event, VersionRestored)
    assert version == newest.event.version
    return newest.event


def last(stand: Stand, kind: type[Any]) -> Any:
    return stand.facts(kind)[-1].event


def forgets_moments(stand: Stand, version: str) -> None:
    """The resume points with this version's weights are retired, as retention does it."""
    weights = stand.follower.catch_up().versions.versions[version].weights_sha256
    for saved in stand.facts(CheckpointSaved):
        if saved.event.weights_sha256 == weights:
            stand.log.append(
                CheckpointRetired(path=saved.event.path, reason="policy"),
                CheckpointDeleted(path=saved.event.path),
            )
            folder = stand.workspace.root / saved.event.path
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()


def test_with_its_moments_a_restored_version_goes_on_as_if_nothing_had_come_after_it(
    make_stand: Make,
) -> None:
    straight, branched = make_stand("straight"), make_stand("branched")
    trains(straight, "a", "d")
    trains(branched, "a", "b", "c")
    told = restores(branched, "v0001")
    trains(branched, "d")

    assert ("v0003", "kept") == (told.before, told.moments)
    assert straight.final() == branched.final()
    new = last(branched, VersionPublished)
    shown = sha256_of(branched.workspace.current_model / "model.safetensors")
    assert ("v0004", "v0001") == (new.version, new.parent)
    assert last(straight, VersionPublished).weights_sha256 == new.weights_sha256 == shown


def test_a_branch_never_takes_the_name_of_a_resume_point_that_the_log_needs(make_stand: Make) -> None:
    stand = make_stand("branched", save_steps=1)
    trains(stand, "a", "b")
    known = stand.follower.catch_up().storage.checkpoints
    before = {path: known[path].manifest_sha256 for path in known}
    restores(stand, "v0001")
    trains(stand, "d")
    after = stand.follower.catch_up().storage.checkpoints

    assert before == {path: after[path].manifest_sha256 for path in before}
    assert before == {path: sha256_of(stand.workspace.root / path / "manifest.json") for path in before}
    assert any(path.endswith(".2") for path in after)
    assert [] == stand.facts(DriftFound)


def test_without_moments_it_begins_with_the_weights_and_fresh_ones_the_same_everywhere(
    make_stand: Make,
) -> None:
    one, other = make_stand("one"), make_stand("other")
    for stand, names in ((one, "abc"), (other, "ab")):
        trains(stand, *names)
        forgets_moments(stand, "v0001")
    told = [restores(stand, "v0001") for stand in (one, other)]
    for stand in (one, other):
        trains(stand, "d")
    with_moments = make_stand("with moments")
    trains(with_moments, "a", "d")

    assert [("fresh", None)] * 2 == [(fact.moments, fact.checkpoint) for fact in told]
    assert (None, "models/versions/v0001") == (
        last(one, TrainingStarted).checkpoint, last(one, TrainingStarted).weights,
    )  # fmt: skip
    assert one.final() == other.final()
    assert with_moments.final()[0] == one.final()[0]
    assert with_moments.final()[1] != one.final()[1]


def dies(stand: Stand) -> ProcessCrashed:
    """A trainer that cannot begin, and what the watchdog makes of its end."""
    assert 1 == serve(stand.workspace, Stop(), 0.0)
    said = words(stand.workspace, "trainer")
    category = analyse(Evidence("trainer", exit_code=1, raised=said.raised)).category
    run = stand.follower.catch_up().run.open
    fact = ProcessCrashed(
        role="trainer", pid=1, exit_code=1, signal=None, error=str(said.error), run=run, step=0,
        category=category,
    )  # fmt: skip
    stand.log.append(fact)
    stand.log.append(*alarm(stand.follower.catch_up(), fact))
    return fact


def test_a_damaged_version_is_an_alert_and_no_file_fails_by_it(make_stand: Make) -> None:
    stand = make_stand("damaged")
    service = trains(stand, "a", "b")
    forgets_moments(stand, "v0001")
    restores(stand, "v0001")
    weights = stand.workspace.versions / "v0001" / "model.safetensors"
    data = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(data[:-1] + b"\x01")
    stand.queue("e", rows=40, seed=5)
    run = stand.start(stand.queue("d", rows=40, seed=4))
    for _ in range(stand.settings.max_attempts + 1):
        fact = dies(stand)
        give_up(service)
        state = stand.follower.catch_up()

        assert "weights_damaged" == fact.category
        assert "put models/versions/v0001 back from a backup" in fact.error
        assert ("open", 0) == (state.run.runs[run].state, state.run.runs[run].tries)
        assert state.health.fatal is not None and "v0001" in state.health.fatal.detail
    assert [] == stand.facts(TrainingFailed)
    assert dispatch.wants_trainer(state)  # seldom: that is how the cure is noticed
    weights.write_bytes(data)
    assert 0 == serve(stand.workspace, Stop(), 0.0)
    assert run == last(stand, TrainingCompleted).run


def test_restoring_the_current_version_undoes_the_steps_of_a_run_that_made_none(make_stand: Make) -> None:
    straight, undone = make_stand("straight"), make_stand("undone")
    trains(straight, "a", "d")
    trains(undone, "a")
    run = undone.start(undone.queue("b", rows=120, seed=2))
    undone.train(stop=StopAfter(5))
    undone.log.append(SkipRequested(run=run))
    answer(Service(undone.workspace, undone.log))
    moved_on = undone.final()[0]
    told = restores(undone, "v0001")
    trains(undone, "d")

    assert moved_on > told.global_step
    assert ("v0001", "kept") == (told.before, told.moments)
    assert straight.final() == undone.final()
