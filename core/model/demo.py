"""The demo's own base model and files: nothing to download, nobody's data needed."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from core.model.chatml import END_OF_TEXT, END_OF_TURN, SPECIAL, TAGS, TEMPLATE
from core.model.docstrings import entries, harvest
from core.settings import Settings

VOCABULARY = 2048
POSITIONS = 1024
FILES, ROWS = 2, 700                        # of one slice

#: Small enough for a CPU to show falling loss within a minute.
SETTINGS = Settings(
    batch_size=2,
    gradient_accumulation=4,
    learning_rate=4e-3,
    warmup_steps=10,
    max_length=256,
    eval_steps=20,
    save_steps=40,
    poll_interval=1,
    disk_floor_gb=0,
    disk_target_gb=0,
)


def make_base(folder: Path, seed: int) -> Path:
    """A tiny Qwen3 with random weights and its own byte-level BPE tokenizer, written to `folder` atomically.

    The same seed gives the same bytes under the same versions of torch and tokenizers. Needs torch.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    write_tokenizer(partial)
    _write_model(partial, seed)
    partial.rename(folder)
    return folder


def drop(inbox: Path, slice: int) -> list[Path]:
    """Slice number `slice` (0, 1, 2 …) of the docstring chats as files in the inbox; each has other rows.

    Each file is written under a dot-name first and renamed, so that no scan sees half of it.
    """
    inbox.mkdir(parents=True, exist_ok=True)
    rows = harvest(slice * FILES * ROWS, FILES * ROWS)
    written = []
    for number in range(FILES):
        path = inbox / f"docstrings-{slice + 1:03d}-{number + 1}.jsonl"
        partial = path.with_name(f".{path.name}.partial")
        with partial.open("w", encoding="utf-8") as file:
            for row in rows[number * ROWS:(number + 1) * ROWS]:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        written.append(path)
    return written


def write_tokenizer(folder: Path) -> None:
    """The tokenizer, its configuration and the chat template; needs no torch."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    # A line's end is a token of its own: none then spans the border between a role and what it says.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(TAGS),
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    corpus = (f"{entry.signature}\n{entry.text}" for entry in entries(FILES * ROWS))
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens([AddedToken(tag, normalized=False, special=False) for tag in TAGS])
    tokenizer.save(str(folder / "tokenizer.json"))
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": END_OF_TURN,
        "pad_token": END_OF_TEXT,
        "unk_token": None,
        "model_max_length": POSITIONS,
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")


def _write_model(folder: Path, seed: int) -> None:
    import torch
    from tokenizers import Tokenizer
    from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()                  # one file of 3 MB
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    eos, pad = tokenizer.token_to_id(END_OF_TURN), tokenizer.token_to_id(END_OF_TEXT)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=24,
        max_position_embeddings=POSITIONS,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=eos,
        pad_token_id=pad,
    )
    with torch.random.fork_rng(devices=[]):         # the caller's own random numbers stay untouched
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config).to(torch.float32)
    model.generation_config = GenerationConfig(eos_token_id=[eos, pad], pad_token_id=pad, do_sample=False)
    model.save_pretrained(folder)
