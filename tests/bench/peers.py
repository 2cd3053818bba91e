"""What a user would train with instead: transformers' Trainer, TRL's SFTTrainer; a bare loop as the limit.

Every arm trains the same documents once, fp32, AdamW, as many tokens an optimizer step on average, and hands
back trained tokens per CPU second of its training alone: models and trainers are made before.
"""

import copy
import gc
import importlib.util
import io
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.train import moments

ROWS_A_STEP = 8
CAP = 1024
SUPERVISED = 0.45
HAS_TRL = importlib.util.find_spec("trl") is not None
WHY_NOT = "trl is not installed: `make bench` installs tests/bench/requirements.lock"


@dataclass(frozen=True, slots=True, eq=False)
class Documents:
    """Rows of random tokens; the first is never a target."""

    ids: tuple[NDArray[np.int64], ...]
    labels: tuple[NDArray[np.uint8], ...]

    @property
    def tokens(self) -> int:
        return sum(map(len, self.ids))

    @property
    def trained(self) -> int:
        return sum(int(labels.sum()) for labels in self.labels)

    @property
    def a_step(self) -> int:
        """Tokens of a step: what rows at random have on average."""
        return max(CAP, round(ROWS_A_STEP * self.tokens / len(self.ids)))

    @property
    def for_trainer(self) -> list[dict[str, list[int]]]:
        return [
            {"input_ids": ids.tolist(), "labels": np.where(labels, ids, -100).tolist()}
            for ids, labels in zip(self.ids, self.labels, strict=True)
        ]


def documents(count: int, vocabulary: int, seed: int = 1, cap: int = CAP) -> Documents:
    """Log-normal lengths, median 110; the tail of each row is trained, 45 % of it."""
    generator = np.random.default_rng(seed)
    lengths = np.clip(generator.lognormal(np.log(110), 0.93, count).astype(int), 4, cap)
    ids = tuple(generator.integers(2, vocabulary, length) for length in lengths)
    return Documents(
        ids,
        tuple((np.arange(n) >= n - round(SUPERVISED * n)).astype(np.uint8) for n in map(len, ids)),
    )


def first(given: Documents, count: int) -> Documents:
    return Documents(given.ids[:count], given.labels[:count])


def network(vocabulary: int, width: int, layers: int = 4) -> Any:
    """A Qwen3 in the proportions of the 0.6B: tied, grouped queries, a wide middle."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    heads = max(2, width // 32)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=layers,
            head_dim=32,
            num_attention_heads=heads,
            num_key_value_heads=heads // 2,
            tie_word_embeddings=True,
            max_position_embeddings=2048,
            bos_token_id=None,
            eos_token_id=1,
            pad_token_id=0,
        )
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Peers warn about what they would rather have (a GPU, FlashAttention); here that is known."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with redirect_stdout(io.StringIO()):
            yield


def rate_of(train: Callable[[], Any], trained: int) -> float:
    """Trained tokens per CPU second."""
    gc.collect()
    began = time.process_time()
    train()
    return trained / (time.process_time() - began)


def _padded(rows: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """To the longest of the batch; padding is neither seen nor trained."""
    longest = max(len(row["input_ids"]) for row in rows)
    ids = torch.zeros(len(rows), longest, dtype=torch.int64)
    labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
    for number, row in enumerate(rows):
        length = len(row["input_ids"])
        ids[number, :length] = torch.tensor(row["input_ids"])
        labels[number, :length] = torch.tensor(row["labels"])
        mask[number, :length] = 1
    return {"input_ids": ids, "labels": labels, "attention_mask": mask}


COMMON: dict[str, Any] = {
    "num_train_epochs": 1, "learning_rate": 2e-4, "report_to": "none", "save_strategy": "no", "use_cpu": True,
    "disable_tqdm": True, "dataloader_pin_memory": False, "bf16": False, "seed": 1,
}  # fmt: skip
TRAINER: dict[str, dict[str, Any]] = {
    "Trainer default": {"per_device_train_batch_size": ROWS_A_STEP},
    "Trainer group_by_length": {
        "per_device_train_batch_size": ROWS_A_STEP, "train_sampling_strategy": "group_by_length",
    },
}  # fmt: skip


@dataclass(slots=True, eq=False)
class Peer:
    """One arm: `rate` trains once; `tokens_a_step` are those of its last time, padding not counted."""

    make: Callable[["Peer"], Any]  # a trainer, ready to train
    given: Documents
    tokens_a_step: list[int]

    def rate(self) -> float:
        self.tokens_a_step.clear()
        with quiet():
            return rate_of(self.make(self).train, self.given.trained)


def trainer(name: str, model: Any, given: Documents, folder: Path) -> Peer:
    """transformers' Trainer as `TRAINER` has it."""
    from transformers import PrinterCallback, Trainer, TrainingArguments

    rows = given.for_trainer

    def make(peer: Peer) -> Any:
        def collate(batch: Sequence[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
            padded = _padded(batch)
            peer.tokens_a_step.append(sum(len(row["input_ids"]) for row in batch))
            return padded

        made = Trainer(
            model=copy.deepcopy(model),
            args=TrainingArguments(output_dir=str(folder), **COMMON, **TRAINER[name]),
            train_dataset=rows,
            data_collator=collate,
        )
        made.pop_callback(PrinterCallback)
        return made

    return Peer(make, given, [])


TRL: dict[str, dict[str, Any]] = {
    "TRL packing=bfd": {"packing": True, "packing_strategy": "bfd", "per_device_train_batch_size": 1},
    "TRL padding_free": {
        "padding_free": True, "max_length": None, "per_device_train_batch_size": ROWS_A_STEP,
    },
}  # fmt: skip


def settings_of_trl(name: str, given: Documents) -> dict[str, Any]:
    """Without recomputation, which it has on by default and which would only slow it down here."""
    return {**COMMON, "gradient_checkpointing": False, "max_length": given.a_step, **TRL[name]}


def trl(name: str, model: Any, given: Documents, folder: Path) -> Peer:
    """TRL's SFTTrainer as `TRL` has it."""
    with quiet():
        from datasets import Dataset, disable_caching, disable_progress_bars
        from tokenizers import Tokenizer, models
        from transformers import PreTrainedTokenizerFast, PrinterCallback
        from trl import SFTConfig, SFTTrainer

    disable_caching()
    disable_progress_bars()
    words = {"[PAD]": 0, "[EOS]": 1}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="[PAD]")),
        pad_token="[PAD]",
        eos_token="[EOS]",
    )
    rows = Dataset.from_list(given.for_trainer)

    def make(_: Peer) -> Any:
        made = SFTTrainer(
            model=copy.deepcopy(model),
            args=SFTConfig(output_dir=str(folder), **settings_of_trl(name, given)),
            train_dataset=rows,
            processing_class=tokenizer,
        )
        made.pop_callback(PrinterCallback)
        return made

    return Peer(make, given, [])


def limit(model: Any, given: Documents) -> Callable[[], float]:
    """A bare loop over rows of one length, without padding, logits at targets only: nothing left to save."""
    length = round(given.tokens / len(given.ids))
    rows = max(1, round(given.a_step / length))
    steps = max(1, round(given.tokens / (rows * length)))
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(2, model.config.vocab_size, (steps, rows, length), generator=generator)
    targets = torch.zeros(rows, length, dtype=torch.bool)
    targets[:, length - round(SUPERVISED * length) :] = True
    predicts = targets.roll(-1, 1)

    def rate() -> float:
        mine = copy.deepcopy(model).train()
        optimizer = moments.adamw(mine)
        for group in optimizer.param_groups:
            group["lr"] = 2e-4

        def train() -> None:
            for step in ids:
                states = mine.model(input_ids=step, use_cache=False).last_hidden_state[predicts]
                torch.nn.functional.cross_entropy(states @ mine.lm_head.weight.T, step[targets]).backward()
                torch.nn.utils.clip_grad_norm_(mine.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()

        return rate_of(train, steps * int(targets.sum()))

    return rate
