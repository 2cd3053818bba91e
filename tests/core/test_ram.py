"""Main memory: limits of control groups hold, cached files count as free, peaks begin anew."""

from pathlib import Path

import psutil
import pytest

from core import ram

MIB = 1 << 20


def told(root: Path, cgroup: str, files: dict[str, str]) -> tuple[Path, Path]:
    """A /proc and a /sys/fs/cgroup that say so."""
    proc, groups = root / "proc", root / "groups"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(cgroup)
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text)
    return proc, groups


def machine() -> int:
    return int(psutil.virtual_memory().total + psutil.swap_memory().total)


def test_a_limit_of_any_group_above_holds(tmp_path: Path) -> None:
    proc, groups = told(tmp_path, "0::/box/inner\n", {
        "box/memory.max": f"{80 * MIB}\n", "box/memory.current": f"{50 * MIB}\n",
        "box/memory.stat": f"anon 3\ninactive_file {20 * MIB}\n",
        "box/inner/memory.max": "max\n", "box/inner/memory.current": f"{9 * MIB}\n",
        "box/inner/memory.stat": "inactive_file 0\n",
    })  # fmt: skip

    assert 50 * MIB == ram.available(proc, groups)


def test_a_group_of_the_first_version_is_read_as_well(tmp_path: Path) -> None:
    proc, groups = told(tmp_path, "9:name=systemd:/\n4:cpu,memory:/box\n0::/\n", {
        "memory/box/memory.limit_in_bytes": f"{64 * MIB}\n",
        "memory/box/memory.usage_in_bytes": f"{24 * MIB}\n", "memory/box/memory.stat": "cache 1\n",
        "memory/memory.limit_in_bytes": f"{2**63 - 4096}\n", "memory/memory.usage_in_bytes": "5\n",
        "memory/memory.stat": "cache 1\n",
    })  # fmt: skip

    assert 40 * MIB == ram.available(proc, groups)


def test_a_group_that_is_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    proc, groups = told(tmp_path, "0::/\n", {
        "memory.max": "5\n", "memory.current": "9\n", "memory.stat": "inactive_file 0\n",
    })  # fmt: skip

    assert 0 == ram.available(proc, groups)


def test_without_groups_the_machine_decides(tmp_path: Path) -> None:
    assert 0 < ram.available(tmp_path, tmp_path) <= machine()
    assert 0 < ram.available() <= machine()


def test_a_peak_is_of_what_came_since() -> None:
    whole = bytearray(120 * MIB)
    held = ram.held()
    del whole
    if not ram.begin_peak():
        pytest.skip("this kernel keeps the peak of the whole life")
    begun = ram.peak()
    again = bytearray(60 * MIB)

    assert ram.held() <= held + MIB
    assert begun < held - 50 * MIB
    assert begun + 50 * MIB < ram.peak() < held
    assert 60 * MIB == len(again)


def test_whoever_takes_memory_to_train_asks_here_what_is_left() -> None:
    """psutil knows the machine alone, not the limit of the group that this process is in."""
    asking = Path(ram.__file__).parent / "train"

    assert [] == [path.name for path in asking.glob("*.py") if "psutil" in path.read_text(encoding="utf-8")]
