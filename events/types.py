"""Every fact there is, by chapter: what can happen in evertrain, on one page.

A fact is a frozen record in the past tense; asking is a fact too (`PauseRequested`), and so is refusing.
Stored names and fields are for ever: a shape changes only by a higher `VERSION` and an upcast
(`events.upcast`); new fields get a default. Paths are relative to the workspace; no fact carries a row.
`STREAM` names the story a fact belongs to; `{field}` is filled from the fact itself.
"""

from typing import Any, ClassVar

from msgspec import Struct, field


class Event(Struct, frozen=True, kw_only=True, gc=False):
    """The base of every fact."""

    VERSION: ClassVar[int] = 1
    STREAM: ClassVar[str] = "workspace"


class Recorded(Struct, frozen=True, gc=False):
    """A fact with what the log stamped on it at the append: all that a fold may know."""

    seq: int  # position in the log: gapless, in commit order
    at: int  # µs since the epoch, for people; order rests on seq alone
    actor: str  # who appended: daemon, trainer, watchdog, cli, web
    event: Event


class Stored(Recorded, frozen=True, gc=False):
    """The same with its whole envelope, as the audit shows it."""

    stream: str
    causation: int | None  # seq of the fact that led to this one
    correlation: int | None  # seq of the fact that began the story


# -- the workspace and its settings --------------------------------------------------------------


class WorkspaceCreated(Event, frozen=True, kw_only=True):
    kind: str  # "user" or "demo"
    base_model: str  # models/<base>
    base_sha256: str  # hash over the base model's files
    model_name: str
    architecture: str
    parameters: int
    vocabulary_size: int  # embedding rows
    software: str  # evertrain's version


class ConfigChanged(Event, frozen=True, kw_only=True):
    config: dict[str, Any]  # the whole effective config
    changes: dict[str, Any]  # key → [before, after]
    config_sha256: str


class ConfigRefused(Event, frozen=True, kw_only=True):
    """config.json could not be read or holds a wrong value: the one before stays in force."""

    problems: tuple[str, ...]


class FixedSetChecked(Event, frozen=True, kw_only=True):
    """The file that `fixed_validation` names was looked at: these bytes are what is evaluated from now on."""

    path: str  # as config.json has it: relative to the workspace, or absolute
    sha256: str | None  # None: there are no bytes to read
    rows: int
    usable_rows: int
    trainable_tokens: int
    store: str  # key of the token store; empty: it cannot be used
    problems: tuple[str, ...]  # why not; of a usable one, what was left out


# -- requests: somebody asked --------------------------------------------------------------------


class PauseRequested(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "control"


class ResumeRequested(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "control"


class StopRequested(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "control"


class SkipRequested(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "control"
    run: str | None  # the run it is addressed to; None: none was open when asked


class MoveRequested(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "file/{sha256}"
    sha256: str
    priority: str


class RemoveRequested(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "file/{sha256}"
    sha256: str


class RetryRequested(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "file/{sha256}"
    sha256: str


class RestoreRequested(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "version/{version}"
    version: str


class PinRequested(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "version/{version}"
    version: str


class UnpinRequested(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "version/{version}"
    version: str


class ConsolidateRequested(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "control"
    average: int = 1  # of the newest so many resume points


class DecayRequested(Event, frozen=True, kw_only=True):
    """The next run that begins is to end at almost no learning rate; its `TrainingStarted` answers."""

    STREAM: ClassVar[str] = "control"


class BackupRequested(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "control"


class CleanRequested(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "control"


class RequestRefused(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "control"
    request: int  # seq of the request
    reason: str


class ServicePaused(Event, frozen=True, kw_only=True):
    """A pause took effect while nothing trained."""

    STREAM: ClassVar[str] = "control"
    request: int


class ServiceStopped(Event, frozen=True, kw_only=True):
    """A stop took effect while nothing trained."""

    STREAM: ClassVar[str] = "control"
    request: int


class ServiceResumed(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "control"
    request: int


# -- files ---------------------------------------------------------------------------------------


class FileReceived(Event, frozen=True, kw_only=True):
    """The bytes are safe inside queue/ (still under their arrival name) and hashed; `FilePlaced` follows."""

    STREAM: ClassVar[str] = "file/{sha256}"
    sha256: str
    name: str  # its name in the queue folders: unique in this workspace, for ever
    original: str  # the relative name it came under
    priority: str  # high, normal or low
    size_bytes: int
    source_inode: int  # with size and mtime: the very file to remove from the inbox afterwards
    source_mtime_ns: int
    by_hand: bool = False  # put straight into a queue folder


class FileDuplicate(Event, frozen=True, kw_only=True):
    """The same bytes came again, under whatever name."""

    STREAM: ClassVar[str] = "file/{sha256}"
    sha256: str
    name: str  # its name in queue/failed
    original: str
    same_as: str  # the name under which these bytes are known
    size_bytes: int
    source_inode: int
    source_mtime_ns: int


class FileIgnored(Event, frozen=True, kw_only=True):
    """Something in a drop folder is no regular readable file; it stays where it is."""

    original: str
    reason: str
    remedy: str


class FileValidated(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "file/{sha256}"
    sha256: str
    verdict: str  # accepted or accepted_with_warnings
    format: str
    rows: int
    accepted_rows: int
    dropped_rows: int
    tokens: int
    trainable_tokens: int
    counts: dict[str, int]  # problem code → rows
    warnings: tuple[str, ...]
    store: str  # key of the token store
    seconds: float
    lines: dict[str, tuple[int, ...]] = field(default_factory=dict)  # problem code → its first lines
    lengths: dict[str, int | None] = field(default_factory=dict)  # p50, p95, p99, max of all rows, in tokens
    max_length: int | None = None
    trained_before: int = 0  # accepted rows that trained files had
    estimated_steps: int | None = None
    estimated_seconds: float | None = None


class FileRejected(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "file/{sha256}"
    sha256: str
    format: str
    rows: int
    accepted_rows: int
    dropped_rows: int
    counts: dict[str, int]
    reason: str
    lines: dict[str, tuple[int, ...]] = field(default_factory=dict)
    lengths: dict[str, int | None] = field(default_factory=dict)
    max_length: int | None = None


class FileQueued(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "file/{sha256}"
    sha256: str
    priority: str


class FileReprioritized(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "file/{sha256}"
    sha256: str
    priority: str
    by_hand: bool = False
    request: int | None = None


class FileReopened(Event, frozen=True, kw_only=True):
    """A file that had ended is taken in again: checked again, then queued."""

    STREAM: ClassVar[str] = "file/{sha256}"
    sha256: str
    priority: str
    by_hand: bool = False
    request: int | None = None


class FileRemoved(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "file/{sha256}"
    sha256: str
    reason: str
    request: int | None = None


class FileLost(Event, frozen=True, kw_only=True):
    """Its bytes are no longer where they were placed, nor anywhere else: a waiting file leaves the queue."""

    STREAM: ClassVar[str] = "file/{sha256}"
    sha256: str
    path: str


class FilePlaced(Event, frozen=True, kw_only=True):
    """Where the file now lies: the result of every move between folders."""

    STREAM: ClassVar[str] = "file/{sha256}"
    sha256: str
    path: str
    duplicate: int | None = None  # seq of the FileDuplicate this copy belongs to; None: the file itself


# -- training ------------------------------------------------------------------------------------


class TrainingStarted(Event, frozen=True, kw_only=True):
    """The decision to train a file, with all it rests on. `step` is the run's, `global_step` for ever."""

    STREAM: ClassVar[str] = "run/{run}"
    run: str
    sha256: str
    file: str
    step: int  # steps of this run already done (a stopped run goes on)
    steps_planned: int
    global_step: int
    epochs: int
    rows: int  # trained rows of one epoch
    holdout_rows: int
    trained_tokens: int  # label tokens of the whole run
    tokens: int  # all tokens of the whole run
    plan_sha256: str  # hash of the batch plan
    store: str  # key of the token store
    checkpoint: str | None  # the resume point whose weights and moments it starts from; None: the base model
    parent: str | None  # the version it descends from
    config: dict[str, Any]
    config_sha256: str
    weights: str | None = None  # after a restore without a checkpoint: this version's weights, fresh moments
    fixed_set: str | None = None  # sha256 of the fixed validation set that is measured
    fixed_store: str | None = None  # key of its token store
    excluded_rows: int = 0  # rows of the file that stand in the fixed set: neither trained nor held out
    decays: bool = False  # with `wsd`: from the peak to almost nothing over the planned steps
    request: int | None = None  # the DecayRequested that it answers


class MemoryPlanned(Event, frozen=True, kw_only=True):
    """What a run is trained with so that it fits into memory: decided once, before its first step.

    Bytes; `terms` are name → (low, expected, high), before the correction by `ratio`.
    """

    STREAM: ClassVar[str] = "run/{run}"
    run: str
    device: str  # cuda or cpu
    device_bytes: int  # there for this process; on a CPU both are main memory
    host_bytes: int
    precision: str  # as asked for, like gradient_checkpointing
    gradient_checkpointing: bool | str
    checkpointing: bool  # are activations computed again in the backward pass?
    halvings: int  # how often each micro-batch is cut in two by tokens
    tokens: int  # of the largest micro-batch then
    ratio: float  # the newest measured peak / what was expected; 1: not measured yet
    expected_bytes: int  # what a measured peak is compared with
    terms: dict[str, tuple[int, int, int]]


class MemoryMeasured(Event, frozen=True, kw_only=True):
    """The peak of an attempt, beside what had been expected of it without any correction."""

    STREAM: ClassVar[str] = "run/{run}"
    run: str
    attempt: int
    device: str  # cuda: what torch held there; cpu: all of the process
    precision: str
    checkpointing: bool
    tokens: int  # of the largest micro-batch
    steps: int  # done by this attempt; the first has no moments yet
    peak_bytes: int
    expected_bytes: int
    whole_process: bool  # not of this run alone: the kernel could not begin the peak anew


class AttemptStarted(Event, frozen=True, kw_only=True):
    """A trainer process has loaded the state and is about to step."""

    STREAM: ClassVar[str] = "run/{run}"
    run: str
    attempt: int
    step: int
    global_step: int
    checkpoint: str | None
    device: str
    dtypes: dict[str, int]  # dtype → parameters
    attention: str
    software: dict[str, str]
    load_seconds: float


class StepsCompleted(Event, frozen=True, kw_only=True):
    """`n` consecutive optimizer steps, column by column."""

    STREAM: ClassVar[str] = "run/{run}"
    run: str
    attempt: int
    first_step: int  # 1 is the first step of the run
    first_global_step: int
    n: int
    columns: dict[str, list[float | int | None]]
    # loss, grad_norm, learning_rate, tokens, trained_tokens, rows, row_digest, seconds: see core.train;
    # with logit penalties objective and penalty_mass as well; empty_windows where any has no target


class StepSkipped(Event, frozen=True, kw_only=True):
    """Loss or gradient was not finite, or there was nothing to learn: the optimizer did not step."""

    STREAM: ClassVar[str] = "run/{run}"
    run: str
    attempt: int
    step: int
    global_step: int
    loss: float
    grad_norm: float
    reason: str = "not_finite"  # or "no_targets": none of its rows has a token to learn


class MicroBatchHalved(Event, frozen=True, kw_only=True):
    """A micro-batch did not fit into memory: from this step on each is trained in smaller parts."""

    STREAM: ClassVar[str] = "run/{run}"
    run: str
    attempt: int
    step: int  # the first that is cut so; it is done again from its beginning
    halvings: int  # times each micro-batch is halved from here on: 1 to 3
    tokens_before: int  # of the step's largest micro-batch
    tokens_after: int
    bytes_asked: int | None  # what was asked for when there was no more, where the error says it


class TrainingRolledBack(Event, frozen=True, kw_only=True):
    """Several steps in a row were not finite: the run goes on from its last good resume point, once."""

    STREAM: ClassVar[str] = "run/{run}"
    run: str
    attempt: int
    step: int  # where it was
    global_step: int
    to_step: int  # where it goes on
    to_global_step: int
    checkpoint: str | None  # None: the weights it began with, the base model's or a version's
    reason: str


class ValidationMeasured(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "run/{run}"
    run: str
    attempt: int
    step: int
    global_step: int
    kind: str  # "holdout" or "fixed"
    loss: float  # nats per trained token
    trained_tokens: int
    rows: int
    train_loss: float | None  # token-weighted mean since the validation before; None before step 1
    seconds: float


class CheckpointSaved(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "run/{run}"
    run: str
    attempt: int
    step: int
    global_step: int
    path: str
    reason: str  # save_steps, end, pause, stop, skip or shutdown
    manifest_sha256: str
    weights_sha256: str
    moments_sha256: str
    rng_sha256: str  # of the generator's state at this instant
    size_bytes: int
    seconds: float


class CheckpointQuarantined(Event, frozen=True, kw_only=True):
    """A resume point failed its verification; the one before is used."""

    path: str
    problems: tuple[str, ...]


class CheckpointRetired(Event, frozen=True, kw_only=True):
    """It may go: the intention; `CheckpointDeleted` is the result."""

    path: str
    reason: str


class CheckpointDeleted(Event, frozen=True, kw_only=True):
    path: str


class TrainingCompleted(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "run/{run}"
    run: str
    sha256: str
    steps: int
    global_step: int
    checkpoint: str
    loss: float | None  # token-weighted mean over the run's last tenth
    validation_loss: float | None


class TrainingPaused(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "run/{run}"
    run: str
    sha256: str
    step: int
    global_step: int
    checkpoint: str | None
    request: int


class TrainingStopped(Event, frozen=True, kw_only=True):
    """The file goes back to the head of its level, with its position."""

    STREAM: ClassVar[str] = "run/{run}"
    run: str
    sha256: str
    step: int
    global_step: int
    checkpoint: str | None
    request: int


class TrainingSkipped(Event, frozen=True, kw_only=True):
    """The run ended by request; the steps done stay in the weights, no version is made."""

    STREAM: ClassVar[str] = "run/{run}"
    run: str
    sha256: str
    step: int
    global_step: int
    checkpoint: str | None
    request: int


class TrainingInterrupted(Event, frozen=True, kw_only=True):
    """The service shut down; the run stays open and goes on at the next start."""

    STREAM: ClassVar[str] = "run/{run}"
    run: str
    sha256: str
    step: int
    global_step: int
    checkpoint: str | None
    signal: str


class TrainingFailed(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "run/{run}"
    run: str
    sha256: str
    step: int
    global_step: int
    checkpoint: str | None  # the resume point that holds from now on; None: the base model
    reason: str
    attempts: int


# -- versions ------------------------------------------------------------------------------------


class VersionPublished(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "version/{version}"
    version: str  # v0001
    parent: str | None
    run: str
    file: str
    sha256: str  # of the file
    global_step: int
    loss: float | None
    validation_loss: float | None
    path: str
    manifest_sha256: str
    weights_sha256: str
    size_bytes: int
    log_seq: int  # the log prefix it came from, and that prefix's chain head
    log_hash: str
    kind: str = "run"  # or "release": weights only, made from resume points; it becomes no run's parent
    sources: tuple[str, ...] = ()  # resume points a release was made from, newest first
    request: int | None = None
    fixed_validation_loss: float | None = None  # of the fixed set, at the run's end


class VersionRestored(Event, frozen=True, kw_only=True):
    """From here on the model is that version's again: the next run descends from it. Nothing is deleted."""

    STREAM: ClassVar[str] = "version/{version}"
    version: str
    before: str | None  # the version that was current until now
    global_step: int  # the version's: steps count on from there, on a branch of history
    checkpoint: str | None  # the resume point with its moments; None: they are gone, they begin anew
    moments: str  # "kept" or "fresh"
    request: int


class VersionPinned(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "version/{version}"
    version: str
    request: int


class VersionUnpinned(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "version/{version}"
    version: str
    request: int


class VersionExported(Event, frozen=True, kw_only=True):
    """A copy left the workspace, verified at its destination."""

    STREAM: ClassVar[str] = "version/{version}"
    version: str
    to: str
    size_bytes: int


class VersionRetired(Event, frozen=True, kw_only=True):
    """It may go: the intention; `VersionDeleted` is the result."""

    STREAM: ClassVar[str] = "version/{version}"
    version: str
    reason: str


class VersionDeleted(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "version/{version}"
    version: str


# -- backups and disk ----------------------------------------------------------------------------


class BackupStarted(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "backup/{backup}"
    backup: str  # b0001
    target: str  # a folder (relative to the workspace when inside it) or an fsspec URL
    request: int | None = None


class BackupTaken(Event, frozen=True, kw_only=True):
    """Everything it holds is in its store; whether it can be restored, `BackupVerified` says."""

    STREAM: ClassVar[str] = "backup/{backup}"
    backup: str
    target: str
    manifest_sha256: str
    versions: tuple[str, ...]
    checkpoints: tuple[str, ...]  # paths of the resume points in it
    log_seq: int  # the log prefix in it, and that prefix's chain head
    log_hash: str
    objects: int
    size_bytes: int  # of all it holds
    added_bytes: int  # of what was not in the store before
    seconds: float


class BackupVerified(Event, frozen=True, kw_only=True):
    """Read back, restored into a scratch folder, opened: log, folds, every file's hash."""

    STREAM: ClassVar[str] = "backup/{backup}"
    backup: str
    seconds: float
    request: int | None = None


class BackupFailed(Event, frozen=True, kw_only=True):
    """It could not be taken or did not pass; what is in the store of it is not listed."""

    STREAM: ClassVar[str] = "backup/{backup}"
    backup: str
    reason: str
    request: int | None = None


class BackupDamaged(Event, frozen=True, kw_only=True):
    """One that had passed does not any more."""

    STREAM: ClassVar[str] = "backup/{backup}"
    backup: str
    problems: tuple[str, ...]


class BackupRetired(Event, frozen=True, kw_only=True):
    """It may go: the intention; `BackupDeleted` is the result."""

    STREAM: ClassVar[str] = "backup/{backup}"
    backup: str
    reason: str


class BackupDeleted(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "backup/{backup}"
    backup: str
    freed_bytes: int


class DiskCleaned(Event, frozen=True, kw_only=True):
    """What could be made again or was condemned went, cheapest first, until there was enough."""

    freed_bytes: int
    kinds: dict[str, int]  # kind → bytes
    reason: str
    request: int | None = None


# -- processes and health ------------------------------------------------------------------------


class ProcessStarted(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "process/{role}"
    role: str
    pid: int


class PhaseEntered(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "process/{role}"
    role: str
    pid: int
    phase: str  # load, tokenize, step, eval, save, idle
    run: str | None = None


class ProcessExited(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "process/{role}"
    role: str
    pid: int
    exit_code: int
    reason: str = ""


class ProcessCrashed(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "process/{role}"
    role: str
    pid: int
    exit_code: int | None
    signal: str | None
    error: str  # exception type and place, or the signal's name; never row text
    run: str | None = None  # the run it was executing
    step: int | None = None  # the furthest step of that run in the log
    category: str = "unknown"  # one of projections.crashes.MEANINGS
    phase: str | None = None  # what it was doing, by its last heartbeat
    frames: tuple[str, ...] = ()  # places in the code, innermost last; never what they worked on
    resources: dict[str, int] = field(default_factory=dict)  # memory and GPU of the newest sample before it


class ProcessHung(Event, frozen=True, kw_only=True):
    """No progress for longer than its phase may take: it is asked to end, then killed."""

    STREAM: ClassVar[str] = "process/{role}"
    role: str
    pid: int
    phase: str
    silent_seconds: float
    limit_seconds: float
    frames: tuple[str, ...] = ()  # where it stood, innermost last; empty: it could not say


class ProcessRestarted(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "process/{role}"
    role: str
    pid: int
    crashes: int  # in a row
    after_seconds: float


class JobFailed(Event, frozen=True, kw_only=True):
    STREAM: ClassVar[str] = "process/daemon"
    job: str
    error: str
    where: str


class AlertRaised(Event, frozen=True, kw_only=True):
    severity: str  # info, warning, serious or fatal (nothing moves until a person acts)
    type: str
    detail: str


class AlertCleared(Event, frozen=True, kw_only=True):
    type: str


class DriftFound(Event, frozen=True, kw_only=True):
    """Disk and log disagree; nothing was repaired in silence."""

    kind: str
    path: str
    detail: str
    remedy: str


class DriftCleared(Event, frozen=True, kw_only=True):
    """Disk and log agree again about this."""

    kind: str
    path: str


class ResourcesSampled(Event, frozen=True, kw_only=True):
    """A minute of samples, column by column."""

    STREAM: ClassVar[str] = "process/daemon"
    every_seconds: float
    columns: dict[str, list[float | int | None]] = field(default_factory=dict)
