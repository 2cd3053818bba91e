"""Head and loss alone at a vocabulary of 151,936: memory and speed against full logits, as HF forms them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.table import ratios, tell, tell_of

ROOT = Path(__file__).parents[2]
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

# A process of its own, because only its own peak counts; the pass that is measured is its only large one.
MEASURE = """
import sys, time
from pathlib import Path
import torch
from torch.nn.functional import cross_entropy, pad
from core.train.losses import summed_cross_entropy
torch.set_num_threads(1)
torch.manual_seed(1)
tokens, width, vocabulary = 2048, 256, 151_936
head = (torch.randn(vocabulary, width) / 16).requires_grad_()
hidden = torch.randn(tokens, width, requires_grad=True)
ids = torch.randint(0, vocabulary, (tokens,))
labels = torch.where(torch.arange(tokens) % 20 < 9, ids, -100)
def full(hidden, labels):
    logits = (hidden @ head.T).float()
    return cross_entropy(logits, pad(labels, (0, 1), value=-100)[1:], ignore_index=-100)
def ours(hidden, labels):
    at = torch.nonzero(labels[1:] >= 0)[:, 0]
    return summed_cross_entropy(hidden[at], head, labels[1:][at]) / len(at)
def peak():     # of this program alone: what getrusage says begins with the peak of who started it
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
arm = {"full": full, "ours": ours}[sys.argv[1]]
arm(hidden[:20], labels[:20]).backward()
head.grad = hidden.grad = None
Path("/proc/self/clear_refs").write_text("5")
before = peak()
began = time.process_time()
loss = arm(hidden, labels)
loss.backward()
print(time.process_time() - began, (peak() - before) / 1024, loss.item(), head.grad.norm().item())
"""


def test_head_and_loss_against_full_logits() -> None:
    seconds: dict[str, list[float]] = {"full": [], "ours": []}
    grown: dict[str, list[float]] = {"full": [], "ours": []}
    found: dict[str, tuple[float, float]] = {}
    for _ in range(ROUNDS):
        for arm in seconds:
            done = subprocess.run(
                [sys.executable, "-P", "-c", MEASURE, arm],
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            spent, mebibytes, loss, norm = map(float, done.stdout.split())
            seconds[arm].append(spent)
            grown[arm].append(mebibytes)
            found[arm] = (loss, norm)
    for arm in seconds:
        tell(f"head and loss: {arm}", "-", seconds[arm], peak_mib=round(max(grown[arm])))
    tell_of("head and loss: speed", ">= 2.5", ratios(seconds["full"], seconds["ours"]), unit="x", digits=2)
    tell_of("head and loss: peak", "<= 0.10", ratios(grown["ours"], grown["full"]), unit="of_full")

    assert pytest.approx(found["full"], rel=1e-5) == found["ours"]
