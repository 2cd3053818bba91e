"""The crashes: what each category means and advises, and one report per fact. Pure."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from immutables import Map
from msgspec import Struct, field

from events.types import ProcessCrashed, Recorded
from projections.xids import ACTIONS, XIDS

UNKNOWN = "unknown"

#: What no further try and no other file cures: a person must mend it, and no file is to blame.
INCURABLE = (
    "import_error", "bad_config", "base_missing", "gpu_missing", "weights_damaged", "memory_too_small",
)  # fmt: skip

#: Ends that others brought about: of the file they say little.
FOREIGN = ("process_killed", "stopped")

#: Where our own code lies: a place in it says more than the last call inside a library.
OURS = ("core/", "db/", "events/", "projections/", "web/")


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a category of crash says happened, and what a person can do."""

    cause: str
    advice: str


#: Every category there is.
MEANINGS: dict[str, Meaning] = {
    "cuda_oom": Meaning(
        "the GPU's memory was full",
        "Lower max_length, set gradient_checkpointing to true, or end other GPU programs (nvidia-smi).",
    ),
    "cuda_error": Meaning(
        "the GPU or its driver reported an error",
        "Look for Xid lines in dmesg; when it comes again, reset the GPU or reboot, then check its health.",
    ),
    "memory_error": Meaning(
        "the machine or a limit refused more memory",
        "Free memory, raise the limit (ulimit -v, MemoryMax), or lower max_length.",
    ),
    "oom_killed": Meaning(
        "it was killed, and the kernel killed for want of memory at that time",
        "Free memory or add swap, raise the container's or unit's limit, or lower max_length.",
    ),
    "process_killed": Meaning(
        "another program or person killed it",
        "Find out who: the shell's history, systemd's journal, a batch system's limits. Training goes on.",
    ),
    "stopped": Meaning(
        "it was asked to end by a signal that did not come from its watchdog",
        "Stop the service through `evertrain stop` or its watchdog, not through one of its children.",
    ),
    "gone": Meaning(
        "it ended together with its watchdog: a power cut, a reboot, or a kill of the whole group",
        "Nothing, when that was meant; else look at the machine's journal of that time.",
    ),
    "segfault": Meaning(
        "native code touched memory it must not touch",
        "When it comes again: test the RAM, and install the pinned versions of torch and the driver anew.",
    ),
    "aborted": Meaning(
        "native code gave up by itself (abort)",
        "Read the last lines in .evertrain/notes; install the pinned versions of torch and the driver anew.",
    ),
    "illegal_instruction": Meaning(
        "native code used an instruction that this processor lacks",
        "Install builds of torch and its libraries made for this processor.",
    ),
    "disk_full": Meaning(
        "the disk, or a quota on it, is full",
        "Make space on the workspace's disk; it goes on by itself from the last checkpoint.",
    ),
    "io_error": Meaning(
        "reading or writing failed",
        "Look for disk errors in dmesg, and check the mount and the limit of open files (ulimit -n).",
    ),
    "file_not_found": Meaning(
        "a file or folder it needs is not there",
        "Run `evertrain verify --deep`: it names what is missing; put it back.",
    ),
    "permission_error": Meaning(
        "it may not read or write a file",
        "Make the workspace belong to the user who runs the service, on a file system mounted for writing.",
    ),
    "import_error": Meaning(
        "a Python package is missing or broken",
        "Install evertrain and its pinned packages anew into the environment that runs the service.",
    ),
    "connection_error": Meaning(
        "a connection failed",
        "Check network and address; training itself needs none.",
    ),
    "timeout": Meaning(
        "something took longer than it may",
        "Look at the load of machine and disk; when the place is always the same, that is what hangs.",
    ),
    "multiprocessing_error": Meaning(
        "a worker process of it failed",
        "Look at memory and /dev/shm: workers die first when either is short.",
    ),
    "non_finite": Meaning(
        "loss or gradient was not a number for several steps in a row",
        "Lower learning_rate, or look at the file for rows that are far from the others; then retry it.",
    ),
    "bad_config": Meaning(
        "config.json cannot be used",
        "Correct the key it names; `evertrain status` says when the settings are accepted.",
    ),
    "base_missing": Meaning(
        "the base model's files are missing or cannot be used",
        "Put the files of the base model back into their folder below models/; it is tried again by itself.",
    ),
    "gpu_missing": Meaning(
        "the GPU it trained on is gone",
        "Look at `nvidia-smi` and the driver; it is tried again by itself. "
        'To go on on the CPU, serve with CUDA_VISIBLE_DEVICES="" in the environment.',
    ),
    "weights_damaged": Meaning(
        "the version that the run begins with is damaged or gone",
        "Put the version's folder back from a backup; it is tried again by itself. "
        "Or `evertrain stop`, restore another version, and `evertrain resume`.",
    ),
    "memory_too_small": Meaning(
        "not even the least memory that the run needs is there",
        "End other programs; it is tried again by itself. Or `evertrain stop`, lower max_length or set "
        "precision to pure_bf16 in config.json, and `evertrain resume`.",
    ),
    "refused": Meaning(
        "it found something it must not train with, and says what",
        "Do what the error says: after max_attempts tries the file is failed, and `evertrain queue retry` "
        "brings it back.",
    ),
    "log_error": Meaning(
        "the log could not be read or written",
        "Run `evertrain verify`, and check the disk the workspace lies on.",
    ),
    "assertion_error": Meaning(
        "a thing that must always hold did not",
        "A fault of the software or of the machine's memory: report it with this crash's signature.",
    ),
    "key_error": Meaning(
        "something was looked up that is not there",
        "A fault of the software, or a base model with unusual files: report it with this crash's signature.",
    ),
    "value_error": Meaning(
        "a value was not acceptable",
        "When one file always ends so, look at its report; else report it with this crash's signature.",
    ),
    "type_error": Meaning(
        "a thing was not of the kind that was expected",
        "Compare the installed packages with the pinned ones; else report it with this crash's signature.",
    ),
    "runtime_error": Meaning(
        "a library gave up",
        "The place tells which one; compare the installed packages with the pinned ones.",
    ),
    UNKNOWN: Meaning(
        "there is not enough evidence to say",
        "Look at the facts just before it and at the last lines in .evertrain/notes.",
    ),
}


class Crash(Struct, frozen=True, gc=False):
    """One death with its evidence; `seq` is also the log position of its fact."""

    seq: int
    at: int  # µs
    role: str
    pid: int
    exit_code: int | None
    signal: str | None
    error: str
    run: str | None
    step: int | None
    category: str = UNKNOWN
    phase: str | None = None
    frames: tuple[str, ...] = ()  # places, innermost last
    resources: Map[str, int] = field(default_factory=Map)  # units in the names

    @property
    def id(self) -> str:
        return f"c{self.seq}"

    @property
    def meaning(self) -> Meaning:
        """Of the category, or of what the GPU's driver said. One of newer software is not known here."""
        xid = self.resources.get("xid")
        if xid in XIDS:
            said, action = XIDS[xid]
            return Meaning(f"{said} (Xid {xid})", ACTIONS[action])
        return MEANINGS.get(self.category, MEANINGS[UNKNOWN])

    @property
    def cause(self) -> str:
        """One sentence: what it means, in which phase, and the evidence."""
        during = f" while in the phase {self.phase}" if self.phase else ""
        return f"{self.meaning.cause}{during} ({self.error})"

    @property
    def signature(self) -> str:
        """Category and place: equal for crashes that are one and the same trouble."""
        return signature(self.role, self.category, self.frames, self.phase)


def crash(recorded: Recorded) -> Crash:
    """The report of a ProcessCrashed fact."""
    e = recorded.event
    assert isinstance(e, ProcessCrashed)
    return Crash(
        recorded.seq, recorded.at, e.role, e.pid, e.exit_code, e.signal, e.error, e.run, e.step, e.category,
        e.phase, e.frames, Map(e.resources),
    )  # fmt: skip


def signature(role: str, category: str, frames: tuple[str, ...], phase: str | None) -> str:
    """Category and place; line numbers are left out, for they move with every release."""
    ours = [frame for frame in frames if frame.startswith(OURS)]
    chosen = (ours or list(frames))[-1:]
    place = re.sub(r":\d+ in ", " in ", chosen[0]) if chosen else f"phase {phase}" if phase else "no place"
    return f"{category} · {role} · {place}"


def grouped(found: Iterable[Crash]) -> list[tuple[str, list[Crash]]]:
    """By signature, each newest first, the group of the newest crash first."""
    groups: dict[str, list[Crash]] = {}
    for one in sorted(found, key=lambda each: each.seq, reverse=True):
        groups.setdefault(one.signature, []).append(one)
    return list(groups.items())
