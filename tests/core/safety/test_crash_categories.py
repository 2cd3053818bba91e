"""Each way to die, for real: the category it gets, and that nothing of what it worked on is kept."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from core.jobs.service import Service
from core.safety.children import Child, ending
from core.safety.evidence import kernel_lines, oom_kills
from events.codec import encode
from events.types import ProcessCrashed
from projections.crashes import MEANINGS
from tests.core.safety.dying import CANARY, KINDS

ROOT = Path(__file__).parents[3]

#: Categories that need more than one process of ours to come about, and where they are tested instead.
ELSEWHERE = {
    "oom_killed": "the counters are read below; the weighing in tests/core/decide/test_crash.py",
    "gone": "tests/e2e/test_kills.py kills the whole service",
    "base_missing": "a real trainer, in tests/core/train/test_process.py",
    "gpu_missing": "a real trainer, in tests/core/train/test_process.py",
    "memory_too_small": "a real trainer, in tests/core/train/test_process.py",
    "weights_damaged": "a real trainer, in tests/core/train/test_restores.py",
    "non_finite": "a real training, in tests/core/train/test_trainer.py",
}


def died(service: Service, kind: str, *more: str) -> ProcessCrashed:
    """The fact of the end of a real child, started and seen as the watchdog does."""
    workspace = service.workspace
    child = Child("trainer", ["tests.core.safety.dying", kind, str(workspace.notes), *more])
    child.environment = {"PYTHONPATH": str(ROOT), "SECRET": CANARY}
    child.start(workspace)
    assert child.process is not None
    child.process.wait(30)
    service.log.beat("trainer", child.process.pid, "step", 3)
    fact = ending(child, service.state(), service.log, workspace, asked=False)
    assert isinstance(fact, ProcessCrashed)
    return fact


@pytest.mark.parametrize("kind", KINDS)
def test_a_death_is_named_right_and_tells_nothing_of_the_rows(service: Service, kind: str) -> None:
    fact = died(service, kind)
    service.log.append(fact)
    (known,) = service.state().health.crashes

    assert KINDS[kind][1] == fact.category
    assert CANARY not in encode(fact)
    assert "step" == fact.phase
    assert known.meaning is MEANINGS[fact.category]
    assert known.signature.startswith(f"{fact.category} · trainer · ")


def test_every_category_is_produced() -> None:
    produced = {category for _, category in KINDS.values()}

    assert MEANINGS.keys() == produced | ELSEWHERE.keys()


@pytest.mark.parametrize("kind", ["import", "key", "memory", "disk by text", "segfault", "assertion"])
def test_a_process_that_left_no_note_is_named_by_its_output(service: Service, kind: str) -> None:
    fact = died(service, kind, "unnoted")

    assert KINDS[kind][1] == fact.category
    assert CANARY not in encode(fact)
    assert any("core/safety/dying.py" in place for place in fact.frames)


def test_a_fatal_signal_leaves_the_places_of_its_calls(service: Service) -> None:
    fact = died(service, "segfault")

    assert fact.frames[-1].endswith(" in string_at")
    assert any(place.endswith(" in segfault") for place in fact.frames)


def test_an_earlier_note_is_not_about_a_later_death(service: Service) -> None:
    first, second = died(service, "key"), died(service, "exit", "unnoted")

    assert ("key_error", "unknown") == (first.category, second.category)
    assert "exit code 7" == second.error


def test_memory_and_gpu_of_the_newest_sample_are_kept(service: Service) -> None:
    card = {"name": CANARY, "memory_used_bytes": 7, "temperature_c": None}
    sample = {"gpu": [card], "ram": {"used_bytes": 5, "total_bytes": 9}, "disk": {"free_bytes": 3}}
    service.log.beat("daemon", os.getpid(), "idle", sample=json.dumps(sample))
    fact = died(service, "kill")

    age = fact.resources["sample_age_seconds"]
    assert {
        "ram_used_bytes": 5, "ram_total_bytes": 9, "disk_free_bytes": 3, "gpu0_memory_used_bytes": 7,
        "sample_age_seconds": age,
    } == fact.resources  # fmt: skip
    assert 0 <= age < 30
    assert CANARY not in encode(fact)


@pytest.mark.parametrize(
    ("group", "file"),
    [
        ("0::/app", "app/memory.events"),
        ("0::/app", "memory.events"),
        ("4:memory:/app", "memory/app/memory.oom_control"),
        ("4:memory:/app", "memory/memory.oom_control"),
    ],
)
def test_the_kernel_is_asked_about_our_own_group_first(tmp_path: Path, group: str, file: str) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    files: dict[Path, Any] = {
        proc / "self" / "cgroup": f"9:cpu:/x\n{group}\n",
        proc / "vmstat": "nr_free_pages 5\noom_kill 8\n",
        groups / file: "low 0\noom 4\noom_kill 3\n",
    }
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="ascii")

    assert 3 == oom_kills(proc, groups)
    (groups / file).unlink()
    assert 8 == oom_kills(proc, groups)
    (proc / "vmstat").unlink()
    assert oom_kills(proc, groups) is None


def test_this_kernel_tells_its_count() -> None:
    assert oom_kills() is not None


def test_what_the_kernel_said_since_then_is_read_where_that_is_allowed(tmp_path: Path) -> None:
    log = tmp_path / "kmsg"
    log.write_text(
        "6,1,5000000,-;NVRM: Xid (PCI:0000:3b:00): 31, old\n"
        " SUBSYSTEM=pci\n"
        "3,2,9000000,-;NVRM: Xid (PCI:0000:3b:00): 79, pid=1; name=x\n",
        encoding="utf-8",
    )

    assert "NVRM: Xid (PCI:0000:3b:00): 79, pid=1; name=x" == kernel_lines(6.0, log)
    assert "" == kernel_lines(0.0, tmp_path / "none")
