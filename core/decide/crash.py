"""Why a process died: its evidence weighed in order, from the hardest to the softest. Pure.

Signal and exit code, the kernel's word on memory, the exception's number and type, known phrases of its
message, and last the place. A message itself is never evidence that is kept: it may quote a row.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from events.types import AlertCleared, AlertRaised, Event, ProcessCrashed
from projections.crashes import INCURABLE, MEANINGS, UNKNOWN, signature
from projections.fold import State

SIGNALS = {
    "SIGTERM": "stopped",
    "SIGINT": "stopped",
    "SIGHUP": "stopped",
    "SIGSEGV": "segfault",
    "SIGBUS": "segfault",
    "SIGFPE": "segfault",
    "SIGABRT": "aborted",
    "SIGTRAP": "aborted",
    "SIGSYS": "aborted",
    "SIGILL": "illegal_instruction",
    "SIGXFSZ": "disk_full",
}

#: Numbers of the operating system; they say more than the class of the exception.
ERRNOS = {
    "ENOSPC": "disk_full",
    "EDQUOT": "disk_full",
    "EFBIG": "disk_full",
    "ENOMEM": "memory_error",
    "EROFS": "permission_error",
    "EACCES": "permission_error",
    "EPERM": "permission_error",
}

#: Classes by their own name, looked for from an exception's class up to its bases.
EXCEPTIONS = {
    "NonFinite": "non_finite",
    "ConfigInvalid": "bad_config",
    "BaseMissing": "base_missing",
    "BaseUnusable": "base_missing",
    "DeviceGone": "gpu_missing",
    "WeightsDamaged": "weights_damaged",
    "MemoryTooSmall": "memory_too_small",
    "Refused": "refused",
    "BaseRefused": "refused",
    "LogUnreadable": "log_error",
    "DatabaseError": "log_error",
    "OperationalError": "log_error",
    "FullError": "disk_full",
    "OutOfMemoryError": "cuda_oom",
    "AcceleratorError": "cuda_error",
    "BrokenProcessPool": "multiprocessing_error",
    "ProcessError": "multiprocessing_error",
    "ProcessRaisedException": "multiprocessing_error",
    "ProcessExitedException": "multiprocessing_error",
    "MemoryError": "memory_error",
    "ImportError": "import_error",
    "FileNotFoundError": "file_not_found",
    "NotADirectoryError": "file_not_found",
    "PermissionError": "permission_error",
    "ConnectionError": "connection_error",
    "TimeoutError": "timeout",
    "TimeoutExpired": "timeout",
    "AssertionError": "assertion_error",
    "LookupError": "key_error",
    "TypeError": "type_error",
    "AttributeError": "type_error",
    "ValueError": "value_error",
    "OSError": "io_error",
    "RuntimeError": "runtime_error",
}

#: What the libraries say in messages of classes that say nothing (RuntimeError and such). First found, first
#: believed. A dying process notes which of these its message holds, and not the message.
PHRASES = {
    "CUDA out of memory": "cuda_oom",
    "CUDA error: out of memory": "cuda_oom",
    "CUBLAS_STATUS_ALLOC_FAILED": "cuda_oom",
    "CUDA error": "cuda_error",
    "CUDA driver": "cuda_error",
    "CUBLAS_STATUS": "cuda_error",
    "CUDNN_STATUS": "cuda_error",
    "cuDNN error": "cuda_error",
    "NCCL error": "cuda_error",
    "device-side assert": "cuda_error",
    "No space left on device": "disk_full",
    "disk is full": "disk_full",
    "an't allocate memory": "memory_error",
    "annot allocate memory": "memory_error",
    "DataLoader worker": "multiprocessing_error",
    "timed out": "timeout",
}

#: Classes that say nothing by themselves: a known phrase is believed instead.
VAGUE = ("runtime_error", "io_error", "log_error", UNKNOWN)


@dataclass(frozen=True, slots=True)
class Raised:
    """One exception of a chain: its classes from its own up to the bases, its errno, the phrases it holds."""

    types: tuple[str, ...]
    errno: str | None = None
    phrases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a death. `raised`: the exception first, then what led to it."""

    role: str
    exit_code: int | None = None
    signal: str | None = None
    oom_kills: int = 0  # of the kernel, while the process lived
    raised: tuple[Raised, ...] = ()
    phase: str | None = None
    frames: tuple[str, ...] = ()  # innermost last
    with_watchdog: bool = False  # nobody saw it end
    hung: bool = False  # it stood still, and was ended for that


@dataclass(frozen=True, slots=True)
class Finding:
    category: str
    cause: str
    advice: str
    signature: str


def analyse(evidence: Evidence) -> Finding:
    """The category of a death with what it means and what to do."""
    category = _category(evidence)
    meaning = MEANINGS[category]
    place = signature(evidence.role, category, evidence.frames, evidence.phase)
    return Finding(category, meaning.cause, meaning.advice, place)


def alarm(state: State, crash: ProcessCrashed) -> list[Event]:
    """The alert for a death that no further try cures. Without the monitor, training goes on."""
    kind = f"fatal:{crash.role}"
    if crash.category not in INCURABLE or kind in state.health.alerts:
        return []
    meaning = MEANINGS[crash.category]
    detail = f"the {crash.role} cannot work: {meaning.cause} ({crash.error}). {meaning.advice}"
    severity = "serious" if crash.role == "monitor" else "fatal"
    return [AlertRaised(severity=severity, type=f"fatal:{crash.role}", detail=detail)]


def relief(state: State, role: str, phase: str | None) -> list[Event]:
    """The end of that alert: the process works again (its phase says so), or nothing is asked of it."""
    if f"fatal:{role}" not in state.health.alerts:
        return []
    is_done = role == "trainer" and state.run.current is None
    return [AlertCleared(type=f"fatal:{role}")] if is_done or phase not in (None, "load", "gone") else []


def _category(evidence: Evidence) -> str:
    if evidence.with_watchdog:
        return "gone"
    if evidence.hung:  # how it was ended is our own doing
        return "timeout"
    if evidence.signal == "SIGKILL" and evidence.oom_kills:
        return "oom_killed"
    if evidence.signal is not None:
        return SIGNALS.get(evidence.signal, "process_killed")
    found = [_exception(raised) for raised in evidence.raised]
    return next((one for one in found if one not in VAGUE), found[0] if found else UNKNOWN)


def _exception(raised: Raised) -> str:
    if raised.errno in ERRNOS:
        return ERRNOS[raised.errno]
    known = _first(raised.types, EXCEPTIONS)
    said = tuple(phrase for phrase in PHRASES if phrase in raised.phrases)  # in the table's order
    return _first(said, PHRASES, known) if known in VAGUE else known


def _first(names: tuple[str, ...], known: Mapping[str, str], default: str = UNKNOWN) -> str:
    return next((known[name] for name in names if name in known), default)
