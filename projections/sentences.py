"""The sentences: what a fact says in plain words, on a page as on the console. Pure."""

from events.types import (
    AlertCleared,
    AlertRaised,
    AttemptStarted,
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
    ConfigChanged,
    ConfigRefused,
    ConsolidateRequested,
    DiskCleaned,
    DriftCleared,
    DriftFound,
    Event,
    FileDuplicate,
    FileIgnored,
    FilePlaced,
    FileQueued,
    FileReceived,
    FileRejected,
    FileRemoved,
    FileReopened,
    FileReprioritized,
    FileValidated,
    FixedSetChecked,
    JobFailed,
    MemoryMeasured,
    MemoryPlanned,
    MicroBatchHalved,
    MoveRequested,
    PhaseEntered,
    PinRequested,
    ProcessCrashed,
    ProcessExited,
    ProcessHung,
    ProcessRestarted,
    ProcessStarted,
    RemoveRequested,
    RequestRefused,
    ResourcesSampled,
    RestoreRequested,
    RetryRequested,
    ServicePaused,
    ServiceResumed,
    ServiceStopped,
    StepsCompleted,
    StepSkipped,
    TrainingCompleted,
    TrainingFailed,
    TrainingInterrupted,
    TrainingPaused,
    TrainingRolledBack,
    TrainingSkipped,
    TrainingStarted,
    TrainingStopped,
    UnpinRequested,
    ValidationMeasured,
    VersionDeleted,
    VersionExported,
    VersionPinned,
    VersionPublished,
    VersionRestored,
    VersionRetired,
    VersionUnpinned,
    WorkspaceCreated,
)
from projections.figures import count, figure, size
from projections.fold import State


def say(event: Event, state: State) -> str:
    """The fact in a few words; empty where its type says it all."""
    match event:
        case WorkspaceCreated(model_name=model):
            return f"workspace made with {model}"
        case FileReceived(name=name, size_bytes=bytes_, priority=priority):
            return f"{name}, {size(bytes_)}, {priority}"
        case FileIgnored(original=name, reason=reason, remedy=remedy):
            return f"{name}: {reason}; {remedy}"
        case FileDuplicate(original=name, same_as=known):
            return f"{name} has the same bytes as {known}: not trained again"
        case FileValidated(sha256=sha, accepted_rows=rows, trainable_tokens=tokens):
            return f"{_name(state, sha)}: {count(rows)} rows, {count(tokens)} trainable tokens"
        case FileRejected(sha256=sha, reason=reason) | FileRemoved(sha256=sha, reason=reason):
            return f"{_name(state, sha)}: {reason}"
        case (
            FileQueued(sha256=sha, priority=priority)
            | FileReprioritized(sha256=sha, priority=priority)
            | FileReopened(sha256=sha, priority=priority)
            | MoveRequested(sha256=sha, priority=priority)
        ):
            return f"{_name(state, sha)} → {priority}"
        case FilePlaced(path=path):
            return path
        case RemoveRequested(sha256=sha) | RetryRequested(sha256=sha):
            return _name(state, sha)
        case RequestRefused(request=request, reason=reason):
            return f"#{request}: {reason}"
        case (
            ServicePaused(request=request) | ServiceStopped(request=request) | ServiceResumed(request=request)
        ):
            return f"as asked in #{request}"
        case _:
            return _training(event) or _keeping(event) or _running(event)


def _training(event: Event) -> str:
    match event:
        case TrainingStarted(file=name, steps_planned=planned, step=step, excluded_rows=excluded) as e:
            return (
                f"{name}, {count(planned)} steps"
                + (f", going on after {count(step)}" if step else "")
                + (", its rate falls to almost nothing" if e.decays else "")
                + (f", {count(excluded)} rows left out: they stand in the fixed set" if excluded else "")
            )
        case MemoryPlanned(checkpointing=again, halvings=halvings, terms=terms):
            low, expected, high = (sum(sizes) for sizes in zip(*terms.values(), strict=True))
            return (
                f"{size(expected)} expected, {size(low)} to {size(high)}; activations "
                + ("computed again" if again else "kept")
                + (f", micro-batches in {count(2**halvings)} parts" if halvings else "")
            )
        case MemoryMeasured(peak_bytes=peak, expected_bytes=expected):
            return f"peak {size(peak)}, {size(expected)} were expected"
        case AttemptStarted(attempt=attempt, device=device):
            return f"attempt {attempt} on {device}"
        case StepsCompleted(first_global_step=first, n=n, columns=columns):
            loss = columns.get("loss") or [None]
            steps = f"step {count(first)}" if n == 1 else f"steps {count(first)} to {count(first + n - 1)}"
            return f"{steps}, loss {figure(loss[-1])}"
        case ValidationMeasured(kind=kind, loss=loss, global_step=step):
            return f"{kind} loss {figure(loss)} at step {count(step)}"
        case CheckpointSaved(global_step=step, reason=reason):
            return f"step {count(step)} ({reason})"
        case TrainingCompleted(steps=steps, loss=loss):
            return f"{count(steps)} steps, loss {figure(loss)}"
        case TrainingFailed(reason=reason):
            return reason
        case StepSkipped(global_step=step, reason="no_targets"):
            return f"step {count(step)}: its rows have no token to learn"
        case StepSkipped(global_step=step):
            return f"step {count(step)}: loss or gradient was not finite"
        case MicroBatchHalved(step=step, tokens_before=before, tokens_after=after):
            return f"from step {count(step)} on {count(after)} instead of {count(before)} tokens at a time"
        case TrainingRolledBack(step=step, to_step=back, reason=reason):
            return f"from step {count(step)} back to {count(back)}: {reason}"
        case (
            TrainingPaused(global_step=step)
            | TrainingStopped(global_step=step)
            | TrainingSkipped(global_step=step)
            | TrainingInterrupted(global_step=step)
        ):
            return f"at step {count(step)}"
        case _:
            return ""


def _keeping(event: Event) -> str:
    match event:
        case VersionPublished(version=version, kind="release", sources=sources):
            return f"{version}, a release of {', '.join(source.rpartition('/')[2] for source in sources)}"
        case VersionPublished(version=version, file=name, loss=loss):
            return f"{version} from {name}, loss {figure(loss)}"
        case VersionRestored(version=version, before=before, moments=moments, global_step=step):
            return f"{before or 'the base model'} → {version} at step {count(step)}, moments {moments}"
        case VersionExported(version=version, to=to):
            return f"{version} to {to}"
        case VersionRetired(version=version, reason=reason):
            return f"{version}: {reason}"
        case (
            RestoreRequested(version=version)
            | PinRequested(version=version)
            | UnpinRequested(version=version)
            | VersionPinned(version=version)
            | VersionUnpinned(version=version)
            | VersionDeleted(version=version)
        ):
            return version
        case ConsolidateRequested(average=average):
            return "the latest checkpoint" if average == 1 else f"the mean of the last {average} checkpoints"
        case BackupStarted(backup=backup, target=target):
            return f"{backup} to {target}"
        case BackupTaken(backup=backup, versions=versions, added_bytes=added):
            return f"{backup}: {count(len(versions))} versions, {size(added)} added"
        case BackupFailed(backup=backup, reason=reason) | BackupRetired(backup=backup, reason=reason):
            return f"{backup}: {reason}"
        case BackupDamaged(backup=backup, problems=problems):
            return f"{backup}: {'; '.join(problems)}"
        case BackupVerified(backup=backup):
            return f"{backup} restored and checked"
        case BackupDeleted(backup=backup, freed_bytes=freed):
            return f"{backup}, {size(freed)} freed"
        case DiskCleaned(freed_bytes=freed, reason=reason):
            return f"{size(freed)} freed: {reason}"
        case _:
            return ""


def _running(event: Event) -> str:
    match event:
        case AlertRaised(detail=detail):
            return detail
        case AlertCleared(type=kind):
            return kind
        case ConfigChanged(changes=changes):
            return ", ".join(sorted(changes))
        case FixedSetChecked(path=path, store="", problems=problems):
            return f"{path} cannot be used: {'; '.join(problems)}"
        case FixedSetChecked(path=path, usable_rows=rows, trainable_tokens=tokens):
            return f"{path}: {count(rows)} rows, {count(tokens)} tokens that are measured and never trained"
        case ConfigRefused(problems=problems) | CheckpointQuarantined(problems=problems):
            return "; ".join(problems)
        case DriftFound(path=path, detail=detail):
            return f"{path}: {detail}"
        case JobFailed(job=job, error=error):
            return f"{job}: {error}"
        case ProcessCrashed(role=role, error=error, category=category):
            return f"{role}, {category}: {error}"
        case DriftCleared(path=path):
            return path
        case ProcessHung(role=role, phase=phase, silent_seconds=silent, limit_seconds=limit):
            return f"{role}: no progress in {phase} for {silent:.0f} s, {limit:.0f} s are allowed"
        case ProcessStarted(role=role, pid=pid) | ProcessExited(role=role, pid=pid):
            return f"{role}, pid {pid}"
        case ProcessRestarted(role=role, crashes=crashes):
            return f"{role}, after {count(crashes)} crashes in a row"
        case CheckpointRetired(path=path) | CheckpointDeleted(path=path):
            return path
        case PhaseEntered(role=role, phase=phase):
            return f"{role}: {phase}"
        case ResourcesSampled(columns=columns):
            return ", ".join(sorted(columns))
        case _:
            return ""


def _name(state: State, sha256: str) -> str:
    entry = state.queue.entries.get(sha256)
    return entry.name if entry else sha256[:12]
