"""A version made again from the log: the same bits; else the first step that differs, or what is missing."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from core import config
from core.decide.disk import save_needs
from core.jobs.consolidation import answer_consolidation
from core.jobs.service import Service
from core.logbook import open_log, state_at
from core.model.docstrings import harvest
from core.train import history
from core.train.refusals import Unreproducible
from core.train.reproduction import Outcome, reproduce
from db.reserve import Reserve
from db.workspace import Workspace
from events.types import (
    AlertCleared,
    AttemptStarted,
    ConfigChanged,
    ConsolidateRequested,
    DecayRequested,
    Event,
    FilePlaced,
    MicroBatchHalved,
    Recorded,
    StepsCompleted,
    TrainingStarted,
    VersionPublished,
)
from tests.core.train import made
from tests.core.train.stand import Stand
from tests.facts import specimen
from tests.small_disk import SmallDisk

PLAIN, KILLED, CHANGED, PARTED, RELEASE = "v0001", "v0002", "v0003", "v0005", "v0006"
HALVED = 7  # the step of PARTED from which micro-batches are halved


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, demo_base: Path) -> Stand:
    """Five versions of four ways to come to one, and a release; only to be looked at or copied."""
    folder = tmp_path_factory.mktemp("lived")
    stand = made.new(folder / "workspace", made.with_dropout(demo_base, folder / "base"))
    stand.bring_fixed(list(harvest(0, 3)))  # rows of the first file
    made.starts(stand, 0)
    made.ends(stand)
    made.starts(stand, 1)
    made.killed_after_a_save(stand)
    made.ends(stand)
    stand.log.append(DecayRequested())
    made.starts(stand, 2)
    made.stops(stand)
    stand.configure(replace(stand.settings, learning_rate=1e-3))
    made.starts(stand, 2)
    made.ends(stand)
    made.starts(stand, 3)
    made.stops(stand)
    made.starts(stand, 4)
    made.ends(stand)
    run = made.starts(stand, 3)
    stand.log.append(specimen(MicroBatchHalved, run=run, step=HALVED, halvings=1))  # so it is trained
    made.ends(stand)
    stand.log.append(ConsolidateRequested(average=2))
    answer_consolidation(Service(stand.workspace, stand.log))
    return stand


@pytest.fixture
def place(lived: Stand, tmp_path: Path) -> Workspace:
    """A copy to be damaged."""
    shutil.copytree(lived.workspace.root, tmp_path / "workspace", symlinks=True)
    return Workspace(tmp_path / "workspace")


def again(place: Workspace, version: str) -> Outcome:
    log = open_log(place, "test")
    state = state_at(log)
    try:
        return reproduce(place, log, state, state.versions.versions[version], lambda *_: None)
    finally:
        log.close()


def files(place: Workspace) -> dict[str, tuple[int, int]]:
    found = [path for path in place.root.rglob("*") if path.is_file() and path.parent != place.locks]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def of(stand: Stand, version: str) -> tuple[str, int]:
    """The run of a version, and its steps."""
    state = stand.follower.catch_up()
    run = state.run.runs[state.versions.versions[version].run]
    return run.id, run.steps_planned


@pytest.mark.parametrize("version", [PLAIN, KILLED, CHANGED, PARTED])
def test_on_a_cpu_it_is_identical_and_the_workspace_is_as_it_was(lived: Stand, version: str) -> None:
    before, head = files(lived.workspace), lived.log.head()
    outcome = again(lived.workspace, version)

    assert outcome.is_identical
    assert None is outcome.first
    assert ["model.safetensors", "optimizer.safetensors"] == list(outcome.hashes)
    assert (of(lived, version)[1], {}) == (outcome.last_step, outcome.surroundings)
    assert head == lived.log.head()
    assert before == files(lived.workspace)


def test_the_stories_are_what_they_are_meant_to_be(lived: Stand) -> None:
    known = {name: history.read(lived.log, of(lived, name)[0]) for name in (PLAIN, KILLED, CHANGED, PARTED)}
    attempts = {name: len({step.attempt for step in h.steps.values()}) for name, h in known.items()}
    rates = {start.config["learning_rate"] for start in known[CHANGED].starts}

    assert 0 < known[PLAIN].first.excluded_rows
    assert {PLAIN: 1, KILLED: 2, CHANGED: 2, PARTED: 1} == attempts
    assert 2 == len(rates)
    assert [True, True] == [start.decays for start in known[CHANGED].starts]
    assert [False, False] == [known[name].first.decays for name in (KILLED, PARTED)]
    falling = [known[CHANGED].steps[step].figures["learning_rate"] for step in sorted(known[CHANGED].steps)]
    assert falling[-1] == pytest.approx(1e-3 / len(falling), rel=1e-5)
    # another run came between: what was done before it does not lead to the version on its own
    assert known[PARTED].first.step > 0
    assert "objective" in known[PLAIN].steps[1].figures


def test_a_release_is_the_mean_of_its_sources_again(lived: Stand, place: Workspace) -> None:
    outcome = again(lived.workspace, RELEASE)
    (published,) = [r.event for r in lived.facts(VersionPublished) if r.event.version == RELEASE]
    shutil.rmtree(place.root / published.sources[1])

    assert outcome.is_identical
    assert ["model.safetensors"] == list(outcome.hashes)
    with pytest.raises(Unreproducible, match=f"{published.sources[1]}, which is gone"):
        again(place, RELEASE)


def test_the_first_step_that_differs_is_told_with_its_figure(lived: Stand, tmp_path: Path) -> None:
    run, planned = of(lived, PLAIN)
    wrong = planned - 2

    def change(recorded: Recorded) -> Event:
        event = recorded.event
        if isinstance(event, AttemptStarted) and event.run == run:
            return structs.replace(event, software={**event.software, "torch": "1.0"})
        if not isinstance(event, StepsCompleted) or event.run != run:
            return event
        losses = list(event.columns["loss"])
        for n in range(event.n):
            losses[n] = (losses[n] or 0.0) + (0.5 if event.first_step + n == wrong else 0.0)
        return structs.replace(event, columns={**event.columns, "loss": losses})

    outcome = again(made.told_otherwise(lived, tmp_path / "workspace", change), PLAIN)

    assert outcome.first is not None
    assert (wrong, "loss") == (outcome.first.step, outcome.first.what)
    assert (1, 0.5) == (outcome.differing_steps, pytest.approx(outcome.largest))
    assert not outcome.is_identical
    assert "1.0" == outcome.surroundings["torch"][0]
    assert all(recorded == now for recorded, now in outcome.hashes.values())


@pytest.mark.parametrize(("what", "field"), [("tokens", "store"), ("plan", "plan_sha256")])
def test_other_tokens_or_another_order_are_a_difference_before_the_first_step(
    lived: Stand, tmp_path: Path, what: str, field: str
) -> None:
    def change(recorded: Recorded) -> Event:
        event = recorded.event
        return structs.replace(event, **{field: "0" * 32}) if isinstance(event, TrainingStarted) else event

    outcome = again(made.told_otherwise(lived, tmp_path / "workspace", change), PLAIN)

    assert outcome.first is not None
    assert (0, what, "0" * 32) == (outcome.first.step, outcome.first.what, outcome.first.recorded)
    assert not outcome.is_identical


def test_it_is_the_recorded_halving_that_gives_the_same_bits(lived: Stand, tmp_path: Path) -> None:
    def change(recorded: Recorded) -> Event:
        event = recorded.event
        return AlertCleared(type="nothing") if isinstance(event, MicroBatchHalved) else event

    outcome = again(made.told_otherwise(lived, tmp_path / "workspace", change), PARTED)

    assert outcome.first is not None
    assert outcome.first.step >= HALVED
    assert not outcome.is_identical


def loses_its_file(place: Workspace) -> None:
    (place.queue / "processing" / "1.jsonl").unlink()


def changes_its_file(place: Workspace) -> None:
    path = place.queue / "processing" / "1.jsonl"
    path.write_bytes(path.read_bytes().replace(b"the", b"teh", 1))


def start_of(place: Workspace) -> Path:
    """The resume point that the second version was trained on from."""
    log = open_log(place, "test")
    second = [r.event for r in log.read(types=(TrainingStarted,))][1]
    log.close()
    assert isinstance(second, TrainingStarted) and second.checkpoint is not None
    return place.root / second.checkpoint


def loses_its_start(place: Workspace) -> None:
    shutil.rmtree(start_of(place))


def damages_its_start(place: Workspace) -> None:
    path = start_of(place) / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def exchanges_its_base(place: Workspace) -> None:
    base = (place.models / "tiny").resolve()
    (place.models / "tiny").unlink()
    shutil.copytree(base, place.models / "tiny")
    (place.models / "tiny" / "config.json").write_text("{}")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (loses_its_file, "v0002 was trained on 1.jsonl, and its bytes are gone: put the file back"),
        (changes_its_file, "1.jsonl is not what was trained"),
        (loses_its_start, "which is gone.*fresh moments.*put it back from a backup"),
        (damages_its_start, "model.safetensors holds other bytes"),
        (exchanges_its_base, "the base model in models/tiny is not what the workspace began with"),
    ],
)
def test_what_is_gone_or_changed_is_named_and_nothing_is_left(
    place: Workspace, harm: Callable[[Workspace], None], told: str
) -> None:
    harm(place)

    with pytest.raises(Unreproducible, match=told):
        again(place, KILLED)
    assert [] == list(place.temporary.glob(".reproduction*"))


def test_a_file_whose_place_the_log_does_not_tell_is_looked_for_where_its_state_says(
    lived: Stand, tmp_path: Path
) -> None:
    def change(recorded: Recorded) -> Event:
        return AlertCleared(type="nothing") if isinstance(recorded.event, FilePlaced) else recorded.event

    place = made.told_otherwise(lived, tmp_path / "workspace", change)
    where = "queue/recently_completed/0.jsonl"

    with pytest.raises(Unreproducible, match=f"put the file back as {where}"):
        again(place, PLAIN)
    (place.queue / "processing" / "0.jsonl").rename(place.root / where)
    assert again(place, PLAIN).is_identical


def test_without_its_tokens_a_fixed_set_is_read_again(place: Workspace) -> None:
    shutil.rmtree(place.tokens)

    assert again(place, PLAIN).is_identical
    (place.root / "fixed.jsonl").unlink()
    with pytest.raises(Unreproducible, match=r"fixed set fixed.jsonl, which is gone: put it back"):
        again(place, PLAIN)


def cramped(lived: Stand, small_disk: Callable[[int], SmallDisk]) -> tuple[SmallDisk, Workspace]:
    """A copy on a disk that has little more room than it takes, and no reserve yet."""
    used = sum(size for size, _ in files(lived.workspace).values())
    disk = small_disk(int(used * 1.15) + (1 << 20))
    shutil.copytree(lived.workspace.root, disk.root / "workspace", symlinks=True)
    return disk, Workspace(disk.root / "workspace")


def test_it_does_not_take_the_disk_below_its_floor(
    lived: Stand, small_disk: Callable[[int], SmallDisk]
) -> None:
    disk, place = cramped(lived, small_disk)
    disk.fill(leave=shutil.disk_usage(disk.root).total // 20)

    with pytest.raises(Unreproducible, match="to be kept free: make space, then ask again"):
        again(place, PLAIN)


def test_where_the_logs_reserve_is_gone_its_share_is_left_for_it(
    lived: Stand, small_disk: Callable[[int], SmallDisk]
) -> None:
    disk, place = cramped(lived, small_disk)
    log = open_log(place, "test")
    plain = {**state_at(log).workspace.config, "disk_floor_gb": 0}
    log.append(ConfigChanged(config=plain, changes={}, config_sha256=config.digest(plain)))
    state = state_at(log)
    log.close()
    run = state.run.runs[state.versions.versions[PLAIN].run]
    needs = 2 * state.inbox.files[run.sha256].size_bytes + save_needs(state, str(run.config["precision"]))
    disk.fill(leave=needs + Reserve(place.reserve).missing // 2)

    with pytest.raises(Unreproducible, match="to be kept free: make space, then ask again"):
        again(place, PLAIN)
