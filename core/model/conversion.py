"""A .gguf file becomes an ordinary model folder; what its loader leaves behind or gets wrong is mended."""

import json
from pathlib import Path
from typing import Any

from core.model.refusal import BaseRefused

# Pre-tokenizers that GGUF only names and the loader does not know: each digit stands alone in these.
DIGITS_ALONE = frozenset({"smollm", "codeshell", "refact", "starcoder", "command-r"})
LEFTOVERS = (
    "quantization_config", "_name_or_path", "_model_name_or_path", "pretraining_tp", "torch_dtype", "dtype",
    "is_local", "local_files_only", "backend",
)


def convert(source: Path, folder: Path) -> list[str]:
    """Write the model and tokenizer in `source` to `folder` as float32 safetensors; returns what was mended.

    Quantized weights are de-quantized. Raises `BaseRefused`. Needs torch and gguf.
    """
    import torch
    from tokenizers import normalizers, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    notes = []
    where: dict[str, Any] = {"gguf_file": source.name, "local_files_only": True}
    try:
        said = _said(source)
        tokenizer = AutoTokenizer.from_pretrained(str(source.parent), **where)
        config = AutoConfig.from_pretrained(str(source.parent), **where)
        if "key_length" in said:        # not every architecture's loader reads it
            config.head_dim = said["key_length"]
        loaded = AutoModelForCausalLM.from_pretrained(
            str(source.parent), config=config, dtype=torch.float32, **where,
        )
    except Exception as error:          # the loader's ways to fail are many; the file is the cause of all
        raise BaseRefused(
            f"{source} cannot be read ({type(error).__name__}: {error}): use the model's safetensors folder"
        ) from None
    if said.get("pre") == "qwen2" and tokenizer.backend_tokenizer.normalizer is None:
        tokenizer.backend_tokenizer.normalizer = normalizers.NFC()
        notes.append("text is put into Unicode's NFC again, as the model was trained")
    if said.get("pre") in DIGITS_ALONE:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False),
        ])
        notes.append("each digit is one token again, as the model was trained")
    values = {key: value for key, value in loaded.config.to_dict().items() if key not in LEFTOVERS}
    config = type(loaded.config).from_dict(_shortened(values))
    config.architectures = [type(loaded).__name__]
    # The loaded model refuses to be saved, since it counts as quantized: its weights go into a fresh one.
    model = type(loaded)(config).to(torch.float32)
    model.load_state_dict(loaded.state_dict(), strict=True)
    model.tie_weights()
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, do_sample=False)
    model.save_pretrained(str(folder))
    longest = int(config.max_position_embeddings)
    if tokenizer.model_max_length > longest:
        tokenizer.model_max_length = longest
        notes.append(f"the longest input is {longest} tokens, as the model's positions allow")
    tokenizer.save_pretrained(str(folder))
    _pin(folder / "tokenizer_config.json")
    return [*notes, "converted from GGUF to float32; quantized weights stay as coarse as they were"]


def _pin(path: Path) -> None:
    """Let tokenizer.json alone say how text is split: a named class would bring rules of its own."""
    config = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: value for key, value in config.items() if key not in LEFTOVERS}
    kept["tokenizer_class"] = "PreTrainedTokenizerFast"
    path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _said(source: Path) -> dict[str, Any]:
    """What the file says of its pre-tokenizer (`pre`) and the size of its heads (`key_length`)."""
    from gguf import GGUFReader

    wanted = ("tokenizer.ggml.pre", ".attention.key_length")
    fields = GGUFReader(str(source)).fields
    return {name.rpartition(".")[2]: fields[name].contents() for name in fields if name.endswith(wanted)}


def _shortened(values: Any) -> Any:
    """The numbers a person wrote: GGUF keeps 1e-5 in 32 bits, which reads as 9.999999747378752e-06."""
    import numpy as np

    if isinstance(values, dict):
        return {key: _shortened(value) for key, value in values.items()}
    if isinstance(values, float) and float(np.float32(values)) == values:
        return float(str(np.float32(values)))
    return values
