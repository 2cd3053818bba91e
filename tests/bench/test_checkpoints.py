"""What a resume point costs: how long training stands still and is slowed, when all is on the disk.

Side by side in one process, in turn: the product's own path (log included), a plain copy of the same tensors,
a plain write and fsync of as many bytes on the same disk, and Trainer's own save. Wall time, for threads
overlap; the first round is not counted (the buffer's pages are new).
"""

import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from tests.bench.table import tell

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
PAIRS = 4  # of a raw and of our write, in each round
SAVES, WITHOUT = 4, 4  # beside training, in each round; steps before, between and after them

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]


def large_network() -> Any:
    """107 million parameters, tied."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=32000, hidden_size=768, intermediate_size=2304, num_hidden_layers=12, head_dim=64,
            num_attention_heads=12, num_key_value_heads=4, tie_word_embeddings=True, bos_token_id=None,
            eos_token_id=1, pad_token_id=0,
        )
    )  # fmt: skip


@dataclass(slots=True)
class Spent:
    """Seconds, one of each a round."""

    memcpy: list[float] = field(default_factory=list)
    raw: list[float] = field(default_factory=list)
    trainer: list[float] = field(default_factory=list)
    begun: list[float] = field(default_factory=list)
    settled: list[float] = field(default_factory=list)  # the mean of a round
    durable: list[float] = field(default_factory=list)  # nothing else is done meanwhile
    beside: list[float] = field(default_factory=list)  # while steps are trained
    slower: list[float] = field(default_factory=list)  # share of the steps' wall that the save has added
    slower_cpu: list[float] = field(default_factory=list)  # the same in CPU time of the thread that trains
    steps: list[float] = field(default_factory=list)


@pytest.fixture
def spent(tmp_path: Path) -> Spent:
    import torch

    from core.decide.batches import lay_out
    from core.logbook import follow, open_log
    from core.settings import Settings
    from core.train import checkpoint
    from core.train.memory import UNKNOWN, build
    from core.train.patience import Patience
    from core.train.points import Place
    from core.train.record import Recorder
    from core.train.saves import Saves
    from core.train.steps import Steps
    from core.train.trainer import Figures
    from db.processes import Stop
    from events.heartbeat import Heartbeat
    from tests.core.train.stand import Stand

    torch.set_num_threads(1)
    print(subprocess.run(["df", "-T", str(tmp_path)], capture_output=True, text=True).stdout)
    base = tmp_path / "base"
    large_network().save_pretrained(base)
    settings = Settings(
        batch_size=1, gradient_accumulation=1, learning_rate=1e-4, warmup_steps=1, max_length=64,
        save_steps=10**6, eval_steps=10**6, validation_fraction=0.0,
    )  # fmt: skip
    stand = Stand(tmp_path / "workspace", base, replace(settings))
    sha256 = stand.queue("a.jsonl", rows=2000)
    run = stand.start(sha256)
    store = stand.store(sha256)
    layout = lay_out(store.hashes, store.lengths, settings, sha256=sha256)
    log = open_log(stand.workspace, "trainer")
    follower, recorder = follow(log), Recorder(log, Heartbeat(log, "trainer"))
    memory = build(base, settings)
    recorder.begin(run, 1)

    class Timed(Saves):
        waited = 0.0  # seconds that the optimizer stood

        def settle(self) -> None:
            began = time.perf_counter()
            super().settle()
            self.waited += time.perf_counter() - began

    saves = Timed(
        stand.workspace, recorder, memory, follower, Patience(Stop()), plan_sha256=layout.plan.sha256,
        precision=settings.precision,
    )  # fmt: skip
    steps, found = Steps(store, layout.plan, settings), Spent()
    done = 0

    def train(after: Callable[[Figures], bool]) -> None:
        nonlocal done

        def after_step(figures: Figures) -> bool:
            nonlocal done
            done = figures.step
            recorder.step(figures)
            return after(figures)

        steps.train(memory, done=done, global_step=done, folder=tmp_path, after_step=after_step)

    first = done + 1
    train(lambda figures: figures.step < first + 1)
    live = [part for image in checkpoint.images(memory.model.network, memory.optimizer).values()
            for part in image.parts]  # fmt: skip
    copies = [torch.zeros_like(part) for part in live]
    size = sum(part.numel() for part in live)
    theirs = stock_trainer(memory, tmp_path / "theirs")

    def memcpy() -> None:
        for copy, part in zip(copies, live, strict=True):
            copy.copy_(part)

    def raw() -> None:
        with (tmp_path / "raw").open("wb", buffering=0) as file:
            for part in copies:
                view = part.numpy().data
                while view:
                    view = view[file.write(view) :]
            os.fsync(file.fileno())

    def durable() -> None:
        memory.holds = UNKNOWN
        saves.begin(Place(run, 1, done, done + 10**6), "save_steps")
        saves.finish()

    def timed(arm: Callable[[], None]) -> float:
        shutil.rmtree(tmp_path / "theirs", ignore_errors=True)
        (tmp_path / "raw").unlink(missing_ok=True)
        for path in stand.workspace.current_model.glob("checkpoint-*"):
            shutil.rmtree(path)
        os.sync()
        began = time.perf_counter()
        arm()
        return time.perf_counter() - began

    print(f"{sum(p.numel() for p in memory.model.network.parameters()):,} parameters, {size / 1e9:.2f} GB")
    for turn in range(ROUNDS + 1):
        found.memcpy.append(timed(memcpy))
        for pair in range(PAIRS):  # a disk's own pace swings, and what was written before still keeps it busy
            if (turn + pair) % 2:
                found.raw.append(timed(raw))
                found.durable.append(timed(durable))
            else:
                found.durable.append(timed(durable))
                found.raw.append(timed(raw))
        found.trainer.append(timed(lambda: theirs._save_checkpoint(theirs.model, trial=None)))
        timed(lambda: None)
        beside(found, train, saves, run, log)
        print(turn, {name: round(getattr(found, name)[-1], 3) for name in Spent.__slots__})
    recorder.close()
    log.close()
    return found


def beside(found: Spent, train: Callable[..., None], saves: Any, run: str, log: Any) -> None:
    """Steps without a save and steps while one is under way, in turn; each save beside its neighbours."""
    from core.train.points import Place
    from core.train.trainer import Figures
    from events.types import CheckpointSaved

    turns: list[list[tuple[float, float]]] = [[]]  # of steps: wall, and CPU of this thread
    cpu, left, before = time.thread_time(), WITHOUT + 1, saves.waited  # in the first a new Trainer is made

    def after(figures: Figures) -> bool:
        nonlocal cpu, left
        turns[-1].append((figures.seconds, time.thread_time() - cpu))
        left -= 1
        if len(turns) % 2 == 0 and saves._under_way is None:
            newest = log.newest(CheckpointSaved)
            assert newest is not None and isinstance(newest.event, CheckpointSaved)
            found.beside.append(newest.event.seconds)
            turns.append([])
            left = WITHOUT
        elif len(turns) % 2 and not left:
            if len(turns) > 2 * SAVES:
                return False
            began = time.perf_counter()
            saves.begin(Place(run, 1, figures.step, figures.global_step), "save_steps")
            found.begun.append(time.perf_counter() - began)
            turns.append([])
        cpu = time.thread_time()
        return True

    train(after)
    found.settled += [(saves.waited - before) / SAVES] * SAVES
    turns[0].pop(0)
    for usual, under, again in zip(turns[::2], turns[1::2], turns[2::2], strict=False):
        for which, into in enumerate((found.slower, found.slower_cpu)):
            one = statistics.median(pair[which] for pair in (*usual, *again))
            into.append(sum(pair[which] for pair in under) / (len(under) * one) - 1)
        found.steps.append(statistics.median(wall for wall, _ in usual))


def stock_trainer(memory: Any, folder: Path) -> Any:
    """Trainer as it comes, on the same model and optimizer."""
    import torch
    from transformers import Trainer, TrainingArguments

    arguments = TrainingArguments(output_dir=str(folder), use_cpu=True, report_to=[], disable_tqdm=True)
    network, optimizer = memory.model.network, memory.optimizer
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    return Trainer(model=network, args=arguments, optimizers=(optimizer, schedule))


def test_a_resume_point_costs_training_next_to_nothing(spent: Spent) -> None:
    stall = [begun + settled for begun, settled in zip(spent.begun, spent.settled, strict=True)]

    def rounds(found: list[float]) -> list[float]:
        """Without those of the first round."""
        return found[len(found) // (ROUNDS + 1) :]

    def against(mine: list[float], other: list[float]) -> float:
        """Median of the ratios, each to what was measured nearest to it."""
        mine, other = rounds(mine), rounds(other)
        return statistics.median(one / other[n * len(other) // len(mine)] for n, one in enumerate(mine))

    tell("copy of the state", "-", rounds(spent.memcpy))
    tell("raw write + fsync", "-", rounds(spent.raw))
    tell("Trainer's save", "-", rounds(spent.trainer))
    ratio = round(against(stall, spent.memcpy), 3)
    tell("stall per checkpoint", "<= 0.1 x a copy", rounds(stall), ratio=ratio)
    ratio = round(against(stall, spent.trainer), 4)
    tell("stall per checkpoint", "<= 0.02 x Trainer's save", rounds(stall), ratio=ratio)
    ratio = round(against(spent.durable, spent.raw), 2)
    tell("durable", "<= 1.5 x raw write + fsync", rounds(spent.durable), ratio=ratio)
    ratio = round(against(spent.beside, spent.raw), 2)
    tell("durable beside training", "-", rounds(spent.beside), ratio=ratio)
    slower, cpu = (rounds(found) for found in (spent.slower, spent.slower_cpu))
    low, _, high = statistics.quantiles(slower, n=4)
    tell("steps during a write", "<= 5 % slower", rounds(spent.steps), saves=len(slower),
         slower=round(statistics.median(slower), 3), half_within=(round(low, 3), round(high, 3)),
         slower_cpu=round(statistics.median(cpu), 3))  # fmt: skip
