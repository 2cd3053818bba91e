"""What may go? A policy language for versions and backups, a number for resume points, the log's order."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from itertools import accumulate
from math import isfinite
from typing import NamedTuple

from core.decide import resume
from core.settings import Settings
from events.types import (
    BackupDamaged,
    BackupFailed,
    BackupRetired,
    BackupVerified,
    CheckpointRetired,
    Event,
    PinRequested,
    RestoreRequested,
    VersionPinned,
    VersionRetired,
    VersionUnpinned,
)
from projections.fold import State
from projections.versions import Version

#: What may go rests on these: when one is newer than what was seen, it is decided again.
DEPENDS_ON: tuple[type[Event], ...] = (
    *resume.DEPENDS_ON,
    BackupDamaged,
    BackupFailed,
    BackupRetired,
    BackupVerified,
    CheckpointRetired,
    PinRequested,
    RestoreRequested,
    VersionPinned,
    VersionRetired,
    VersionUnpinned,
)

DAY_US = 86_400 * 1_000_000
EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Item:
    """What a policy chooses among."""

    id: str
    clock: int  # µs: the highest time the log showed for its kind up to this one, so it never goes back
    score: float | None = None  # the lower the better; None: nobody measured


class Going(NamedTuple):
    """Something that would be deleted, and why. Hard-linked bytes are free only with their last name."""

    kind: str  # version, checkpoint or backup
    id: str  # of a checkpoint its path
    bytes: int
    reason: str


def select(items: Iterable[Item], policy: Mapping[str, int]) -> set[str]:
    """The ids that a policy keeps: what any of its rules keeps. `items`: oldest first, in the log's order.

    `last: n` the newest n; `daily`, `weekly`, `monthly: n` the newest item of each of the newest n UTC days,
    ISO weeks, months that have one; `best: n` the n lowest scores, of equal ones the newer.
    """
    newest_first = list(items)[::-1]
    kept = {item.id for item in newest_first[: policy.get("last", 0)]}
    for rule, bucket in (("daily", _day), ("weekly", _week), ("monthly", _month)):
        newest: dict[object, str] = {}
        for item in newest_first:
            newest.setdefault(bucket(item.clock), item.id)
        kept |= set(list(newest.values())[: policy.get(rule, 0)])
    scored = [item for item in newest_first if item.score is not None and isfinite(item.score)]
    best = sorted(scored, key=lambda item: item.score or 0.0)  # stable: the newer of equal ones stays before
    return kept | {item.id for item in best[: policy.get("best", 0)]}


def _day(clock: int) -> date:
    return date.fromordinal(min(EPOCH + max(clock, 0) // DAY_US, date.max.toordinal()))


def _week(clock: int) -> tuple[int, int]:
    year, week, _ = _day(clock).isocalendar()
    return year, week


def _month(clock: int) -> tuple[int, int]:
    return _day(clock).year, _day(clock).month


def retire_versions(state: State, keep: Mapping[str, int]) -> list[Event]:
    """Versions that the policy does not keep and nothing protects; releases are counted apart."""
    every = [state.versions.versions[name] for name in state.versions.order]
    # over deleted ones as well: what went must not change the day of what stayed
    clocks = dict(zip(state.versions.order, accumulate((v.created_at for v in every), max), strict=True))
    kept = _protected_versions(state)
    for kind in {version.kind for version in every}:
        items = [Item(v.id, clocks[v.id], score(v)) for v in state.versions if v.kind == kind]
        kept |= select(items, keep)
    return [
        VersionRetired(version=version.id, reason=f"not among versions_keep = {_words(keep)}")
        for version in state.versions
        if version.id not in kept
    ]


def score(version: Version) -> float | None:
    """How good a version is: its loss on the fixed set, else on its own hold-out; the lower the better."""
    fixed = version.fixed_validation_loss
    return fixed if fixed is not None else version.validation_loss


def _protected_versions(state: State) -> set[str]:
    """These stay whatever a policy says: current, pinned, returned to, asked for, the open run's parent."""
    found = {version.id for version in state.versions if version.pinned}
    found |= {request.version for request in state.control.pending if request.version is not None}
    if state.versions.current is not None:
        found.add(state.versions.current)
    if state.versions.restored is not None:
        found.add(state.versions.restored.version)
    if state.run.current is not None:
        found.add(state.run.current.parent or "")
    return found


def retire_checkpoints(state: State, keep: int) -> list[Event]:
    """Resume points beyond the newest `keep` usable ones, but what a run or a coming version needs.

    A quarantined one is evidence for a while: it goes once `keep` usable ones are newer.
    """
    kept, beyond = state.storage.usable[: max(1, keep)], state.storage.usable[max(1, keep) :]
    oldest = kept[-1].saved if len(kept) == max(1, keep) else 0
    beyond += tuple(
        c for c in state.storage.checkpoints.values() if c.state == "quarantined" and c.saved < oldest
    )
    needed = resume.needed_checkpoints(state)
    return [
        CheckpointRetired(path=checkpoint.path, reason=f"beyond checkpoints_keep = {keep}")
        for checkpoint in sorted(beyond, key=lambda c: c.saved)
        if checkpoint.path not in needed
    ]


def retire_backups(state: State, keep: Mapping[str, int]) -> list[Event]:
    """Verified backups that the policy does not keep, failed ones, damaged ones older than a verified one.

    The newest verified backup stays, whatever the policy says; what is being made is not looked at.
    """
    verified = state.storage.backups_in("verified")
    kept = select([Item(backup.id, backup.clock) for backup in verified], keep)
    kept |= {backup.id for backup in verified[-1:]}
    newest = verified[-1].started if verified else 0
    gone: list[Event] = []
    for backup in state.storage.backups_in("verified", "failed", "damaged"):
        if backup.state == "verified" and backup.id not in kept:
            reason = f"not among backup.keep = {_words(keep)}"
            gone.append(BackupRetired(backup=backup.id, reason=reason))
        elif backup.state == "failed" or (backup.state == "damaged" and backup.started < newest):
            gone.append(BackupRetired(backup=backup.id, reason=f"{backup.state}: {backup.reason}"))
    return gone


def what_would_go(state: State, settings: Settings) -> list[Going]:
    """What the policies would delete now, with what is condemned already; nothing is changed by asking."""
    versions, storage = state.versions, state.storage
    found = [Going("version", v.id, v.size_bytes, "retired already") for v in versions.retired]
    found += [Going("checkpoint", c.path, c.size_bytes, "retired already") for c in storage.retired]
    found += [Going("backup", b.id, b.size_bytes, b.reason or "") for b in storage.backups_in("retired")]
    for fact in (
        *retire_versions(state, settings.versions_keep),
        *retire_checkpoints(state, settings.checkpoints_keep),
        *retire_backups(state, settings.backup.keep),
    ):
        match fact:
            case VersionRetired(version=version, reason=reason):
                found.append(Going("version", version, versions.versions[version].size_bytes, reason))
            case CheckpointRetired(path=path, reason=reason):
                found.append(Going("checkpoint", path, storage.checkpoints[path].size_bytes, reason))
            case BackupRetired(backup=backup, reason=reason):
                found.append(Going("backup", backup, storage.backups[backup].size_bytes, reason))
    return found


def _words(policy: Mapping[str, int]) -> str:
    return ", ".join(f"{rule} {number}" for rule, number in policy.items() if number) or "nothing"
