"""A trainer with little memory: `python -m tests.core.train.cramped WORKSPACE SHARE`.

It may take `SHARE` of what its largest micro-batch takes, beside what it holds after loading. To be started
with MALLOC_MMAP_THRESHOLD_ and MALLOC_ARENA_MAX set, so that what is freed is given back.
"""

import gc
import re
import resource
import sys
from pathlib import Path

from core import config
from core.decide.batches import lay_out
from core.intake.tokens import TokenStore
from core.logbook import follow, open_log
from core.train.__main__ import serve
from core.train.memory import build
from core.train.packed import read_batch
from db.processes import Stop
from db.workspace import Workspace


def kept(field: str) -> int:
    """Bytes of this process, by the kernel."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) << 10


def demand(workspace: Workspace) -> int:
    """What forward and backward of the open run's largest micro-batch take at their peak."""
    log = open_log(workspace, "test")
    run = follow(log).catch_up().run.current
    log.close()
    assert run is not None
    settings = config.parse(run.config)
    store = TokenStore.open(workspace.tokens / run.store)
    plan = lay_out(store.hashes, store.lengths, settings, sha256=run.sha256).plan
    parts = [rows for step in plan.steps(1) for rows in step]
    largest = max(parts, key=lambda rows: int(store.lengths[rows].sum()))
    model = build(workspace.models / "tiny", settings).model
    model.train()
    for _ in range(3):  # what is made at the first use, and kept, is no part of it
        gc.collect()
        before = kept("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        model(read_batch(store, largest)).backward()
        model.zero_grad(set_to_none=True)
    return kept("VmHWM") - before


if __name__ == "__main__":
    place = Workspace(Path(sys.argv[1]))
    taken = demand(place)
    gc.collect()
    most = kept("VmSize") + int(float(sys.argv[2]) * taken)
    print(f"{taken:,} bytes at the peak of a micro-batch, {most - kept('VmSize'):,} to be had")
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    sys.exit(serve(place, Stop(), 0.0))
