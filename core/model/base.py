"""The base model: a local model folder or GGUF file, copied into the workspace and checked by loading it."""

import hashlib
import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.files import folder_sha256, fsync_file, fsync_folder
from core.model import chatml
from core.model.conversion import convert
from core.model.refusal import BaseRefused

TAKEN_NAMES = frozenset({"current_model", "versions"})
COPIED = (
    "*.safetensors", "model.safetensors.index.json", "LICENSE*", "NOTICE*", "config.json",
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "vocab.json", "merges.txt", "tokenizer.model", "chat_template.jinja",
)
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
PADS = ("<|endoftext|>", "<|pad|>", "<pad>", "[PAD]", "<|finetune_right_pad_id|>", "<unk>")
SAMPLES = ("Ten 10 2026, two  spaces,\n\n a tab\t.", "naïve Ünïcode 漢字 🛑", "def f(x):\n    return x**2\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """An installed base model."""

    path: Path
    name: str                   # of its folder below models/
    architecture: str
    parameters: int             # tied ones counted once
    vocabulary_size: int        # rows of the embedding; may exceed the tokenizer's tokens
    dtype: str
    tied: bool                  # input and output embedding are one tensor
    eos_token: str
    pad_token: str
    template_sha256: str | None
    sha256: str                 # over the names and contents of all its files
    notes: tuple[str, ...]      # what was mended


def install(source: Path, models: Path) -> Base:
    """Copy a Hugging Face folder, or convert a .gguf file, to models/<name>/, all of it or nothing.

    Only safetensors are read, no code of the model's is run, nothing is downloaded. Raises `BaseRefused`,
    which says what, where and what to do; then nothing remains. Needs torch.
    """
    name = _name(source)
    folder, partial = models / name, models / f".{name}.partial"
    if folder.exists():
        raise BaseRefused(f"{folder} exists already: choose another workspace, or rename the source")
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        _be_quiet()
        if source.is_file() and source.suffix.lower() == ".gguf":
            notes = convert(source, partial)
        elif source.is_dir():
            _copy(source, partial)
            notes = []
        else:
            raise BaseRefused(f"{source} is neither a model folder nor a .gguf file")
        notes += _mend_tokens(partial)
        found = _inspect(partial)
        sha256 = folder_sha256(partial)
        for path in partial.iterdir():
            fsync_file(path)
        fsync_folder(partial)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Base(path=folder, name=name, sha256=sha256, notes=tuple(notes), **found)


def _be_quiet() -> None:
    from transformers.utils import logging

    logging.disable_progress_bar()


def _name(source: Path) -> str:
    source = source.resolve() if source.name in ("", ".", "..") else source
    name = source.stem if source.suffix.lower() == ".gguf" else source.name
    if source.parent.name == "snapshots":       # the hub's cache: models--OWNER--NAME/snapshots/REVISION
        name = source.parent.parent.name.rpartition("--")[2]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "base"
    return f"{name}-base" if name in TAKEN_NAMES else name


def _copy(source: Path, target: Path) -> None:
    config = _json(source / "config.json", "it is no model folder")
    if "auto_map" in config:
        raise BaseRefused(f"{source}/config.json has auto_map: a model's own code is never run")
    if config.get("quantization_config"):
        raise BaseRefused(f"{source} is quantized: full fine-tuning needs this model's plain weights")
    if not any(source.glob("*.safetensors")):
        pickled = any(path for pattern in PICKLES for path in source.glob(pattern))
        why = "its weights are pickles, which can run code: convert them to safetensors" if pickled else (
            "give a folder that holds the weights"
        )
        raise BaseRefused(f"{source} has no .safetensors file: {why}")
    for pattern in COPIED:
        for path in sorted(source.glob(pattern)):
            shutil.copyfile(path, target / path.name)   # through links: the hub's cache is made of them


def _mend_tokens(folder: Path) -> list[str]:
    """Make padding and the end of a sequence two tokens; let generation stop at the end of a turn."""
    from transformers import AutoTokenizer

    notes: list[str] = []
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:          # the library has many ways to say that there is no tokenizer
        raise BaseRefused(f"the tokenizer cannot be loaded ({type(error).__name__}: {error})") from None
    vocabulary: dict[str, int] = tokenizer.get_vocab()
    if tokenizer.eos_token is None:
        raise BaseRefused("the tokenizer has no eos_token: name one in its tokenizer_config.json")
    if not (folder / "tokenizer.json").exists():
        tokenizer.save_pretrained(str(folder))
        notes.append("tokenizer.json was written anew from the older tokenizer files")
    if tokenizer.pad_token in (None, tokenizer.eos_token):
        pad = next((token for token in PADS if token in vocabulary and token != tokenizer.eos_token), None)
        if pad is None:
            raise BaseRefused("the tokenizer has no padding token but eos: name one as pad_token")
        tokenizer.pad_token = pad
        _name_pad(folder, pad)
        notes.append(f"the padding token is now {pad}; it was missing, or the end of a sequence as well")
    config = _json(folder / "config.json", "it is no model folder")
    config["pad_token_id"] = vocabulary[tokenizer.pad_token]
    _write(folder / "config.json", config)
    path = folder / "generation_config.json"
    generation = _json(path, "") if path.exists() else {}
    stops = generation.get("eos_token_id", config.get("eos_token_id"))
    known = stops if isinstance(stops, list) else [] if stops is None else [stops]
    wanted = {vocabulary[token] for token in (tokenizer.eos_token, "<|im_end|>") if token in vocabulary}
    generation["eos_token_id"] = [*known, *sorted(wanted.difference(known))]
    generation["pad_token_id"] = vocabulary[tokenizer.pad_token]
    _write(path, generation)
    return notes + _give_template(folder, tokenizer)


def _give_template(folder: Path, tokenizer: Any) -> list[str]:
    """A base without a chat template gets ChatML, so that whoever loads a version asks as it was trained."""
    if tokenizer.chat_template is not None:
        return []
    template = chatml.TEMPLATE
    vocabulary = tokenizer.get_vocab()
    how = "ChatML"
    if any(token not in vocabulary for token in (chatml.START_OF_TURN, chatml.END_OF_TURN)):
        template = template.replace(chatml.ENDED, chatml.ENDED_BY_EOS)
        how = f"ChatML in ordinary tokens, each turn ended by {tokenizer.eos_token}"
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return [f"the base has no chat template: chats are written as {how}"]


def _name_pad(folder: Path, pad: str) -> None:
    """Edit the configuration alone: saving the tokenizer anew could change how it splits text."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = folder / name
        if path.exists() or name == "tokenizer_config.json":
            _write(path, {**(_json(path, "") if path.exists() else {}), "pad_token": pad})


def _inspect(folder: Path) -> dict[str, Any]:
    """Load everything as training will, and look: architecture, keys, sizes, tokenizer."""
    from tokenizers import Tokenizer
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(str(folder), **local)
    except Exception as error:          # unknown model types come as several exceptions
        raise BaseRefused(f"config.json is not understood ({error}): choose a supported model") from None
    architecture = (config.architectures or ["none"])[0]
    names = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(config.model_type, ())
    if architecture not in ((names,) if isinstance(names, str) else names):
        raise BaseRefused(f"{architecture} is no causal language model: only those can be trained on text")
    try:
        model, keys = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype="auto", use_safetensors=True, output_loading_info=True, **local,
        )
    except Exception as error:          # a torn file, wrong shapes: all mean the same here
        raise BaseRefused(f"the weights cannot be loaded ({type(error).__name__}: {error})") from None
    for kind in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if keys[kind]:
            shown = ", ".join(map(str, sorted(keys[kind])[:3]))
            raise BaseRefused(f"weights and config.json are not of one model, {kind}: {shown}")
    tokenizer = AutoTokenizer.from_pretrained(str(folder), **local)
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise BaseRefused(f"{len(tokenizer)} tokens, but {rows} embedding rows: tokenizer of another model")
    alone = Tokenizer.from_file(str(folder / "tokenizer.json"))
    alone.no_truncation()
    for sample in SAMPLES:
        ids = tokenizer(sample, add_special_tokens=False)["input_ids"]
        if alone.encode(sample, add_special_tokens=False).ids != ids:
            raise BaseRefused("tokenizer.json and its configuration disagree: copy the model again")
    output = model.get_output_embeddings()
    template = tokenizer.chat_template
    digest = hashlib.sha256(template.encode()).hexdigest() if isinstance(template, str) else None
    return {
        "architecture": architecture,
        "parameters": model.num_parameters(),
        "vocabulary_size": rows,
        "dtype": str(model.dtype).removeprefix("torch."),
        "tied": output is not None and output.weight is model.get_input_embeddings().weight,
        "eos_token": tokenizer.eos_token,
        "pad_token": tokenizer.pad_token,
        "template_sha256": digest,
    }


def _json(path: Path, otherwise: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BaseRefused(f"{path} is missing: {otherwise}") from None
    except ValueError as error:
        raise BaseRefused(f"{path} is not JSON ({error}): copy the model again") from None
    if not isinstance(value, dict):
        raise BaseRefused(f"{path} is no JSON object: copy the model again")
    return value


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
