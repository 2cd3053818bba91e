"""The data pass against what one would write with transformers: same tokens, same mask; how fast, how large.

Side by side in one process, in turn, one tokenizer thread; in CPU seconds, which a busy machine hurts less.
"""

import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.intake.chatml import write
from core.intake.formats import parse, read
from core.intake.template import Renderer
from core.intake.tokens import TokenStore
from core.intake.validate import examine
from core.settings import Settings
from tests.bench.table import tell, timed

ROOT = Path(__file__).parents[2]
ROWS, ROUNDS = 1500, 21
GIGABYTE = 10**9

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

# Our training template with generation marks, as transformers wants a mask to be told.
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ m['content'] + '<|im_end|>\\n' }}{% endif %}{% endfor %}"
)


@pytest.fixture(scope="module")
def chats(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real conversations of both kinds, long answers and several turns."""
    path = tmp_path_factory.mktemp("chats") / "chats.jsonl"
    told = (shared / "data/gsm8k-train/train.jsonl").read_text(encoding="utf-8").split("\n")[: ROWS // 2]
    rows = [
        [{"role": "user", "content": r["question"]}, {"role": "assistant", "content": r["answer"]}]
        for r in map(json.loads, told)
    ]
    told = (shared / "data/superbowl-prompt-completion/train.jsonl").read_text(encoding="utf-8").split("\n")
    pairs = [
        [{"role": "user", "content": r["prompt"]}, {"role": "assistant", "content": r["completion"]}]
        for r in map(json.loads, told[:ROWS])
    ]
    rows += [first + second for first, second in zip(pairs[::2], pairs[1::2], strict=True)]
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def qwen(shared: Path) -> Path:
    return shared / "models/qwen3-tokenizer"


def the_usual_way(path: Path, tokenizer: Any) -> list[tuple[list[int], list[int]]]:
    """Row by row: json, apply_chat_template with the assistant's mask."""
    made = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            encoded = tokenizer.apply_chat_template(
                json.loads(line)["messages"], chat_template=TEMPLATE, tokenize=True, return_dict=True,
                return_assistant_tokens_mask=True,
            )
            made.append((encoded["input_ids"], encoded["assistant_masks"]))
    return made


def test_the_data_pass_is_as_quick_as_the_tokenizer(
    chats: Path, qwen: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer

    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    theirs = AutoTokenizer.from_pretrained(str(qwen), local_files_only=True)
    renderer = Renderer(qwen)
    sha256 = hashlib.sha256(chats.read_bytes()).hexdigest()
    texts = [write(read(parse(line), "messages").turns) for line in chats.read_bytes().split(b"\n")[:-1]]
    names = (tmp_path / str(n) for n in count())

    def ours() -> TokenStore:
        stores = next(names)  # a new one each time: to delete the last one is no part of a pass
        report = examine(chats, sha256=sha256, renderer=renderer, settings=Settings(), store=stores)
        return TokenStore.open(stores / str(report.store))

    def tokenizer_alone() -> None:
        for first in range(0, len(texts), 256):
            for encoding in theirs.backend_tokenizer.encode_batch_fast(
                texts[first : first + 256], add_special_tokens=False
            ):
                _ = encoding.ids

    store, expected = ours(), the_usual_way(chats, theirs)
    assert ROWS == store.rows == len(expected)
    assert np.array_equal(store.ids, np.concatenate([ids for ids, _ in expected]))
    assert np.array_equal(store.labels, np.concatenate([mask for _, mask in expected]))

    spent = timed({
        "usual": lambda: the_usual_way(chats, theirs), "tokenizer": tokenizer_alone, "ours": ours,
    }, rounds=ROUNDS)  # fmt: skip
    pairs = zip(spent["usual"], spent["tokenizer"], spent["ours"], strict=True)
    against_usual, against_tokenizer = zip(*((u / o, t / o) for u, t, o in pairs), strict=True)
    tell("usual row pass", "-", spent["usual"])
    tell("tokenizer alone", "-", spent["tokenizer"])
    ratios = [round(statistics.median(ratio), 2) for ratio in (against_usual, against_tokenizer)]
    tell("data pass", ">= 1.7 x the usual", spent["ours"], ratio=ratios[0])
    tell("data pass", ">= 0.85 of the tokenizer", spent["ours"], ratio=ratios[1])


MEASURE = """
import hashlib, sys
from pathlib import Path
from core.intake.template import Renderer
from core.intake.validate import examine
from core.settings import Settings
path, base, store = map(Path, sys.argv[1:4])
renderer, settings = Renderer(base), Settings()
small = store.parent / "small.jsonl"
small.write_bytes(b"".join(path.open("rb").readline() for _ in range(9)))
def look(path, store):
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return examine(path, sha256=sha256, renderer=renderer, settings=settings, store=store)
def peak():     # of this program alone: what getrusage says begins with the peak of who started it
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
look(small, None)
before = peak()
report = look(path, store)
print(report.rows, peak() - before)
"""


def test_memory_does_not_grow_with_the_file(chats: Path, demo_base: Path, tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    block = chats.read_bytes()
    with path.open("wb") as file:
        for _ in range(int(os.environ.get("BENCH_BYTES", GIGABYTE)) // len(block)):
            file.write(block)
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-P", "-c", MEASURE, str(path), str(demo_base), str(tmp_path / "tokens")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows, grown = map(int, done.stdout.split())
    size = path.stat().st_size
    tell(f"check of {size / 1e9:.2f} GB", "<= 300 MB over the start", [time.perf_counter() - began],
         rows=rows, grown_mb=round(grown / 1024))

    assert grown <= 300 * 1024


def test_check_is_the_data_pass_and_the_start(
    chats: Path, demo_base: Path, tmp_path: Path, evertrain: Callable[..., Any]
) -> None:
    root, path = tmp_path / "workspace", tmp_path / "ten.jsonl"
    evertrain("init", "--base", demo_base, "--workspace", root)
    lines = chats.read_bytes().split(b"\n")[:-1]
    path.write_bytes(b"".join(lines[n % ROWS] + b"\n" for n in range(10_000)))
    small = tmp_path / "small.jsonl"
    small.write_bytes(lines[0] + b"\n")
    renderer, sha256 = Renderer(demo_base), hashlib.sha256(path.read_bytes()).hexdigest()

    def command(file: Path) -> float:
        before = os.times()
        done = evertrain("check", file, "--workspace", root, "--json")
        after = os.times()
        assert "rows checked" in done.stderr
        return after.children_user + after.children_system - before.children_user - before.children_system

    def data_pass() -> float:
        began = time.process_time()
        examine(path, sha256=sha256, renderer=renderer, settings=Settings())
        return time.process_time() - began

    rounds = [(command(path), command(small), data_pass()) for _ in range(4)][1:]
    checks, starts, passes = (list(column) for column in zip(*rounds, strict=True))
    ratio = statistics.median((check - start) / alone for check, start, alone in rounds)
    parts = {"start": statistics.median(starts), "data_pass": statistics.median(passes), "ratio": ratio}
    rounded = {name: round(part, 2) for name, part in parts.items()}
    tell("check of 10,000 chats", "<= 1.3 x data pass + start", checks, **rounded)
