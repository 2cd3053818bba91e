"""Random histories, policies and clocks that jump: the protected stay, the policy is met, twice is once.

The oracle below keeps books of its own while the history is told, and counts rivals item by item.
"""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from core.decide.retention import retire_backups, retire_checkpoints, retire_versions, what_would_go
from core.settings import Backup, Settings
from events.types import (
    BackupDamaged,
    BackupDeleted,
    BackupFailed,
    BackupRetired,
    BackupStarted,
    BackupTaken,
    BackupVerified,
    CheckpointDeleted,
    CheckpointQuarantined,
    CheckpointRetired,
    CheckpointSaved,
    Event,
    FileReceived,
    PinRequested,
    Recorded,
    TrainingCompleted,
    TrainingStarted,
    VersionDeleted,
    VersionPinned,
    VersionPublished,
    VersionRestored,
    VersionRetired,
    VersionUnpinned,
)
from projections.fold import EMPTY, State, apply
from tests.facts import sha, specimen

DAY = 86_400 * 10**6


@dataclass
class Thing:
    """One version, resume point or backup, as the oracle remembers it."""

    id: str
    clock: int
    kind: str = ""
    score: float | None = None
    here: bool = True
    good: bool = True
    pinned: bool = False


@dataclass
class World:
    """A history as it is told, and the oracle's books about it."""

    state: State = EMPTY
    at: int = 20_000 * DAY
    versions: list[Thing] = field(default_factory=list)
    points: list[Thing] = field(default_factory=list)
    backups: list[Thing] = field(default_factory=list)
    current: str | None = None
    restored: str | None = None
    begin_at: Thing | None = None  # the resume point of the newest restore
    saved_then: int = 0  # resume points before that restore
    wanted: set[str] = field(default_factory=set)
    needed: dict[str, str | None] = field(default_factory=dict)  # who needs a resume point → which
    run: str | None = None
    parent: str | None = None
    runs: int = 0

    def tell(self, *facts: Event) -> None:
        for fact in facts:
            recorded = Recorded(self.state.seq + 1, self.at, "test", fact)
            self.state = apply(self.state, recorded)

    def clock(self, things: list[Thing]) -> int:
        return max([self.at, *(thing.clock for thing in things)])

    # -- what can happen; `n` chooses among what is there -------------------------------------------

    def publish(self, n: int, score: float | None, kind: str = "run") -> None:
        thing = Thing(f"v{len(self.versions) + 1:04d}", self.clock(self.versions), kind, score)
        self.versions.append(thing)
        run = self.state.versions.due[0].event.run if self.state.versions.due and kind == "run" else "other"
        self.tell(specimen(VersionPublished, version=thing.id, kind=kind, run=run,
                           fixed_validation_loss=score if n % 2 else None,
                           validation_loss=None if n % 2 else score,
                           path=thing.id, request=None))  # fmt: skip
        if kind == "run":
            self.current = thing.id
            self.needed.pop(run, None)

    def release(self, n: int, score: float | None) -> None:
        self.publish(n, score, "release")

    def pin(self, n: int, score: float | None) -> None:
        if thing := some(self.versions, n):
            thing.pinned = True
            self.tell(VersionPinned(version=thing.id, request=0))

    def unpin(self, n: int, score: float | None) -> None:
        if thing := some(self.versions, n):
            thing.pinned = False
            self.tell(VersionUnpinned(version=thing.id, request=0))

    def want(self, n: int, score: float | None) -> None:
        if thing := some(self.versions, n):
            self.wanted.add(thing.id)
            self.tell(PinRequested(version=thing.id))

    def restore(self, n: int, score: float | None) -> None:
        if thing := some(self.versions, n):
            point = some([p for p in self.points if p.good], n)
            self.current = self.restored = thing.id
            self.begin_at, self.saved_then = point, len(self.points)
            path = point.id if point else None
            self.tell(specimen(VersionRestored, version=thing.id, checkpoint=path, request=0))

    def start(self, n: int, score: float | None) -> None:
        if self.run is None:
            self.runs += 1
            point = some([p for p in self.points if p.good], -1)
            self.run, self.parent = f"r{self.runs}", self.current
            self.needed["open"] = point.id if point else None
            file = sha(self.run)
            self.tell(
                specimen(FileReceived, sha256=file, name=self.run),
                specimen(TrainingStarted, run=self.run, sha256=file, parent=self.parent, weights=None,
                         checkpoint=self.needed["open"], request=None, config={"max_attempts": 3}),
            )  # fmt: skip

    def save(self, n: int, score: float | None) -> None:
        thing = Thing(f"checkpoint-{len(self.points) + 1}", self.clock(self.points))
        self.points.append(thing)
        self.tell(specimen(CheckpointSaved, run=self.run or "r", path=thing.id))

    def complete(self, n: int, score: float | None) -> None:
        point = some([p for p in self.points if p.good], -1)
        if self.run is not None and point is not None:
            self.needed.pop("open")
            self.needed[self.run] = point.id
            self.tell(specimen(TrainingCompleted, run=self.run, sha256=sha(self.run), checkpoint=point.id))
            self.run = self.parent = None

    def quarantine(self, n: int, score: float | None) -> None:
        if thing := some([p for p in self.points if p.good], n):
            thing.good = False
            self.tell(CheckpointQuarantined(path=thing.id, problems=("bytes",)))

    def back_up(self, n: int, score: float | None) -> None:
        """A backup of one of five fates."""
        fate = ("writing", "taken", "verified", "failed", "damaged")[n % 5]
        thing = Thing(f"b{len(self.backups) + 1:04d}", self.clock(self.backups), fate)
        self.backups.append(thing)
        self.tell(BackupStarted(backup=thing.id, target="backups"))
        if fate in ("taken", "verified", "damaged"):
            self.tell(specimen(BackupTaken, backup=thing.id))
        if fate in ("verified", "damaged"):
            self.tell(BackupVerified(backup=thing.id, seconds=1.0))
        if fate == "failed":
            self.tell(BackupFailed(backup=thing.id, reason="no space"))
        if fate == "damaged":
            self.tell(BackupDamaged(backup=thing.id, problems=("bytes",)))

    def delete(self, n: int, score: float | None) -> None:
        """An earlier turn of retention, under a policy as hard as can be; it need not have finished."""
        for fact in every({"last": 1}, 1, self.state):
            self.tell(fact)
            if n % 2:
                self.tell(result(fact))
            name = subject(fact)
            for thing in (*self.versions, *self.points, *self.backups):
                if thing.id == name:
                    thing.here = thing.good = False


def some(things: list[Thing], n: int) -> Thing | None:
    here = [thing for thing in things if thing.here]
    return here[n % len(here) if n >= 0 else n] if here else None


def every(policy: dict[str, int], keep: int, state: State) -> list[Event]:
    return [*retire_versions(state, policy), *retire_checkpoints(state, keep), *retire_backups(state, policy)]


def subject(fact: Event) -> str:
    assert isinstance(fact, VersionRetired | CheckpointRetired | BackupRetired)
    match fact:
        case VersionRetired(version=name) | CheckpointRetired(path=name) | BackupRetired(backup=name):
            return name


def result(fact: Event) -> Event:
    match fact:
        case VersionRetired(version=version):
            return VersionDeleted(version=version)
        case CheckpointRetired(path=path):
            return CheckpointDeleted(path=path)
        case _:
            return BackupDeleted(backup=subject(fact), freed_bytes=1)


# -- the oracle -------------------------------------------------------------------------------------


def kept_by_policy(things: list[Thing], policy: dict[str, int]) -> set[str]:
    """Naively: an item stays when fewer than n rivals of some rule come before it."""
    kept = set()
    for place, thing in enumerate(things):
        newer = things[place + 1 :]
        if len(newer) < policy.get("last", 0):
            kept.add(thing.id)
        for rule, key in (("daily", "%Y-%m-%d"), ("weekly", "%G-%V"), ("monthly", "%Y-%m")):
            mine, theirs = calendar(thing, key), {calendar(other, key) for other in newer}
            if mine not in theirs and len(theirs) < policy.get(rule, 0):
                kept.add(thing.id)
        if measured(thing):
            better = [
                other for other in things
                if measured(other) and (other.score, -things.index(other)) < (thing.score, -place)
            ]  # fmt: skip
            if len(better) < policy.get("best", 0):
                kept.add(thing.id)
    return kept


def calendar(thing: Thing, key: str) -> str:
    return datetime.fromtimestamp(thing.clock // 10**6, UTC).strftime(key)


def measured(thing: Thing) -> bool:
    return thing.score is not None and math.isfinite(thing.score)


def must_stay(world: World, policy: dict[str, int], keep: int) -> set[str]:
    stay: set[str] = set()
    here = [thing for thing in world.versions if thing.here]
    for kind in ("run", "release"):
        stay |= kept_by_policy([thing for thing in here if thing.kind == kind], policy)
    stay |= {thing.id for thing in here if thing.pinned or thing.id in world.wanted}
    stay |= {world.current or "", world.restored or "", world.parent or ""}
    points = [thing for thing in world.points if thing.here]
    good = [thing for thing in points if thing.good]
    stay |= {thing.id for thing in good[-keep:]} | {name or "" for name in world.needed.values()}
    began = any(thing.good and thing.here for thing in world.points[world.saved_then :])
    if world.begin_at is not None and world.current == world.restored and not began:
        stay |= {world.begin_at.id} if world.begin_at.good else set()
    stay |= {
        thing.id for thing in points
        if not thing.good and sum(points.index(other) > points.index(thing) for other in good) < keep
    }  # fmt: skip
    backups = [thing for thing in world.backups if thing.here]
    verified = [thing for thing in backups if thing.kind == "verified"]
    stay |= kept_by_policy(verified, policy) | {thing.id for thing in verified[-1:]}
    for place, thing in enumerate(backups):
        later = [other for other in backups[place:] if other.kind == "verified"]
        if thing.kind in ("writing", "taken") or (thing.kind == "damaged" and not later):
            stay.add(thing.id)
    return stay


OPERATIONS = (
    World.publish, World.publish, World.publish, World.release, World.pin, World.unpin, World.want,
    World.restore, World.start, World.start, World.save, World.save, World.save, World.complete,
    World.complete, World.quarantine, World.back_up, World.back_up, World.delete,
)  # fmt: skip
JUMPS = st.sampled_from((0, 1, DAY // 3, DAY, 3 * DAY, 20 * DAY, 400 * DAY, -DAY, -30 * DAY, -5000 * DAY))
SCORES = st.one_of(st.none(), st.sampled_from((0.5, 1.0, 1.5, 2.0)), st.floats())
STEPS = st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 20), SCORES, JUMPS)
COUNTS = st.integers(0, 4)


@settings(max_examples=150, deadline=None)
@given(
    steps=st.lists(STEPS, min_size=20, max_size=60),
    policy=st.dictionaries(st.sampled_from(("last", "daily", "weekly", "monthly", "best")), COUNTS),
    keep=st.integers(1, 4),
)
def test_what_must_stay_stays_and_all_else_goes_once(
    steps: list[tuple[Any, int, float | None, int]], policy: dict[str, int], keep: int
) -> None:
    world = World()
    for operation, n, score, jump in steps:
        world.at = max(0, world.at + jump)
        operation(world, n, score)
    everything = {t.id for t in (*world.versions, *world.points, *world.backups) if t.here}
    before = world.state
    facts = every(policy, keep, before)
    would_go = what_would_go(
        before, Settings(versions_keep=policy, checkpoints_keep=keep, backup=Backup(keep=policy))
    )
    world.tell(*facts)
    condemned = every(policy, keep, world.state)
    world.tell(*map(result, facts))

    assert everything - must_stay(world, policy, keep) == {subject(fact) for fact in facts}
    assert len(facts) == len({subject(fact) for fact in facts})
    assert {subject(fact) for fact in facts} == {
        going.id for going in would_go if going.id in everything and not is_retired(before, going.id)
    }
    assert [] == condemned == every(policy, keep, world.state)


def is_retired(state: State, name: str) -> bool:
    return name in {
        *(version.id for version in state.versions.retired),
        *(point.path for point in state.storage.retired),
        *(backup.id for backup in state.storage.backups_in("retired")),
    }
