"""Faults in torch, for the process that finds $FAULTS: a folder with a file for each fault that is due.

Python imports this at its start when the folder it lies in is on PYTHONPATH. `block-N`: the optimizer's Nth
step, or one after it, never returns. `segfault-N`: it dies in it. `…-NAME`: only while a file of that name is
trained. A fault's file is gone once it has happened, unless it is named `always-…`.
"""

import ctypes
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

FAULTS = Path(os.environ["FAULTS"]) if "FAULTS" in os.environ else None


def install() -> None:
    """Wait until torch is imported, then stand in the way of its optimizer."""
    while "torch.optim.adamw" not in sys.modules or not hasattr(sys.modules["torch.optim.adamw"], "AdamW"):
        time.sleep(0.01)
    adamw: Any = sys.modules["torch.optim.adamw"].AdamW
    true_step, taken = adamw.step, [0]

    def step(self: Any, *arguments: Any, **more: Any) -> Any:
        taken[0] += 1
        assert FAULTS is not None
        for fault in sorted(FAULTS.iterdir()):
            kind, number, *name = fault.name.removeprefix("always-").split("-")
            if taken[0] >= int(number) and all(map(is_trained, name)):
                if not fault.name.startswith("always-"):
                    fault.unlink()
                happen(kind)
        return true_step(self, *arguments, **more)

    adamw.step = step


def is_trained(name: str) -> bool:
    workspace = Path(sys.argv[sys.argv.index("--workspace") + 1])
    return any(path.stem == name for path in (workspace / "queue" / "processing").iterdir())


def happen(kind: str) -> None:
    if kind == "block":
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()
    ctypes.string_at(0)


if FAULTS is not None:
    threading.Thread(target=install, daemon=True).start()
