"""When is a backup due, what begins, how does it end, and what does a restored workspace have to know?"""

from core.decide.resume import needed_checkpoints
from events.types import (
    AlertCleared,
    AlertRaised,
    BackupDamaged,
    BackupDeleted,
    BackupFailed,
    BackupRetired,
    BackupStarted,
    BackupVerified,
    CheckpointDeleted,
    CheckpointRetired,
    Event,
    FileLost,
    RequestRefused,
    VersionDeleted,
    VersionRetired,
)
from projections.fold import State
from projections.keeping import next_backup_due
from projections.storage import Backup, Checkpoint

#: Only one at a time: what begins rests on what has begun.
DEPENDS_ON: tuple[type[Event], ...] = (BackupStarted,)
#: How one ends rests on how it stands.
ENDS_ON: tuple[type[Event], ...] = (BackupVerified, BackupFailed, BackupRetired, BackupDeleted)

SERIOUS = 3  # failures in a row
MOST_DEATHS = 3  # of the daemon over one backup

UNDER_WAY = ("writing", "taken")


def due(state: State, now: int) -> bool:
    """Is the next scheduled backup due at `now` (µs)?"""
    at = next_backup_due(state)
    if at is None:
        return False
    known = max(state.storage.backup_ended_at, state.versions.versions[state.versions.order[0]].created_at)
    return now >= at or now < known  # the clock went back: one more now, rather than none until it caught up


def begin(state: State, now: int) -> list[Event]:
    """The backup that begins now, for the oldest request or because it is due; or why none can."""
    if state.storage.backups_in(*UNDER_WAY):
        return []
    asked = [request for request in state.control.pending if request.type == "BackupRequested"]
    if "waiting" in state.health.alerts:
        reason = "the disk is too full: make space, then ask again"
        return [RequestRefused(request=request.seq, reason=reason) for request in asked]
    if not asked and not due(state, now):
        return []
    return [
        BackupStarted(
            backup=state.storage.next_backup,
            target=str(state.workspace.config["backup"]["target"]),
            request=asked[0].seq if asked else None,
        ),
        *(
            RequestRefused(
                request=other.seq, reason=f"the backup asked for by #{asked[0].seq} serves this too"
            )
            for other in asked[1:]
        ),
    ]


def is_hopeless(state: State, backup: Backup) -> bool:
    """Did the daemon die over this one time and again?"""
    deaths = [c for c in state.health.crashes if c.role == "daemon" and c.seq > backup.started]
    return len(deaths) >= MOST_DEATHS


def failed(state: State, backup: str, reason: str, request: int | None) -> list[Event]:
    """It failed; again after a while, and a person is told."""
    if not _is_under_way(state, backup):
        return []
    grave = state.storage.backup_failures + 1 >= SERIOUS
    detail = f"the backup {backup} failed: {reason}"
    return [
        BackupFailed(backup=backup, reason=reason, request=request),
        AlertRaised(severity="serious" if grave else "warning", type="backup", detail=detail),
    ]


def verified(state: State, backup: str, seconds: float, request: int | None) -> list[Event]:
    """It was restored and opened."""
    if not _is_under_way(state, backup):
        return []
    return [BackupVerified(backup=backup, seconds=seconds, request=request), *_calm(state)]


def examined(state: State, backup: str, problems: tuple[str, ...], seconds: float) -> list[Event]:
    """All its bytes were read again: what is new about it."""
    known = state.storage.backups.get(backup)
    if known is None or known.state not in ("verified", "damaged"):
        return []
    if problems and (known.state == "verified" or known.reason != "; ".join(problems)):
        detail = f"the backup {backup} is damaged: {problems[0]}"
        return [
            BackupDamaged(backup=backup, problems=problems),
            AlertRaised(severity="serious", type="backup", detail=detail),
        ]
    if not problems and known.state == "damaged":
        return [BackupVerified(backup=backup, seconds=seconds), *_calm(state)]
    return []


def _calm(state: State) -> list[Event]:
    return [AlertCleared(type="backup")] if "backup" in state.health.alerts else []


def _is_under_way(state: State, backup: str) -> bool:
    return backup in state.storage.backups and state.storage.backups[backup].state in UNDER_WAY


def doomed(state: State) -> tuple[Backup, ...]:
    """What is to be deleted at its target: condemned ones, and what a failed one left."""
    return state.storage.backups_in("retired", "failed")


def resume_points(state: State, without: frozenset[str] = frozenset()) -> list[Checkpoint]:
    """The resume points that a restored workspace needs to go on bit for bit; `without`: damaged ones."""
    usable = [c for c in state.storage.usable if c.path not in without]
    wanted = needed_checkpoints(state) | {c.path for c in usable[:1]}
    return [c for c in usable if c.path in wanted]


def settle(state: State, held: frozenset[str], backup: str, target_stays: frozenset[str]) -> list[Event]:
    """What a workspace restored from `backup` must know: what the log names and did not come with it.

    `held`: the names of the files that came. `target_stays`: backups whose store is still there.
    """
    why = f"not in the backup {backup}, from which this workspace was restored"
    facts: list[Event] = []
    for entry in sorted(state.queue.entries.values(), key=lambda e: e.since):
        if entry.placed is not None and not entry.lost and entry.placed not in held:
            facts.append(FileLost(sha256=entry.sha256, path=entry.placed))
    for checkpoint in reversed(state.storage.usable + state.storage.retired):
        if f"{checkpoint.path}/manifest.json" not in held:
            if checkpoint.state == "usable":
                facts.append(CheckpointRetired(path=checkpoint.path, reason=why))
            facts.append(CheckpointDeleted(path=checkpoint.path))
    for version in (*state.versions, *state.versions.retired):
        if f"{version.path}/manifest.json" not in held:
            if version.state == "kept":
                facts.append(VersionRetired(version=version.id, reason=why))
            facts.append(VersionDeleted(version=version.id))
    for known in state.storage.backups_in():
        if known.id not in target_stays:
            if known.state != "retired":
                facts.append(BackupRetired(backup=known.id, reason="its store stayed with the old workspace"))
            facts.append(BackupDeleted(backup=known.id, freed_bytes=0))
    return facts
