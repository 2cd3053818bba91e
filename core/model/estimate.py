"""What a model folder says of itself, without loading a weight: its dimensions, types and special tokens."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.decide.memory import Dimensions
from core.model.refusal import BaseRefused

HEAD = "lm_head.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A model folder, from its config.json and the headers of its weights."""

    architecture: str
    dimensions: Dimensions
    dtypes: tuple[str, ...]     # as safetensors spells them
    eos_token_id: int | list[int] | None
    pad_token_id: int | None


def describe(folder: Path) -> Description:
    """Read a folder's config and the headers of its weights. Raises `BaseRefused`.

    For architectures that are not of the Llama and Qwen kind the parameters are still those counted in the
    files; the activations are then those of a plain decoder of this width. Needs transformers.
    """
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise BaseRefused(f"{folder}/config.json is missing: copy the base model again")
    try:
        whole = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:          # unknown model types come as several exceptions
        raise BaseRefused(f"{folder}/config.json is not understood ({error}): copy the model again") from None
    config = whole.get_text_config()
    sizes, dtypes = _weights(folder)
    # some files hold a tied head as well, as a copy that is never loaded
    tied = bool(config.tie_word_embeddings) or HEAD not in sizes
    counted = sum(size for name, size in sizes.items() if not (tied and name == HEAD))
    try:
        heads = int(config.num_attention_heads)
        dimensions = Dimensions(
            layers=int(config.num_hidden_layers),
            hidden=int(config.hidden_size),
            intermediate=int(config.intermediate_size),
            heads=heads,
            kv_heads=int(getattr(config, "num_key_value_heads", None) or heads),
            head_size=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
            vocabulary=int(config.vocab_size),
            tied=tied,
            qk_norm=any("q_norm" in name for name in sizes),
            attention_bias=any(name.endswith("q_proj.bias") for name in sizes),
            counted=counted,
        )
    except (AttributeError, TypeError) as error:
        raise BaseRefused(f"{folder}/config.json names no size of a decoder ({error})") from None
    return Description(
        architecture=(whole.architectures or ["none"])[0],
        dimensions=dimensions,
        dtypes=tuple(sorted(dtypes)),
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
    )


def _weights(folder: Path) -> tuple[dict[str, int], set[str]]:
    """Tensor → number of its values, and the types, from the headers alone."""
    from safetensors import SafetensorError, safe_open

    sizes: dict[str, int] = {}
    dtypes: set[str] = set()
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        raise BaseRefused(f"{folder} has no .safetensors file: copy the base model again")
    for path in paths:
        try:
            with safe_open(str(path), framework="np") as file:
                for name in file.keys():    # noqa: SIM118 - it is no mapping
                    part: Any = file.get_slice(name)
                    sizes[name] = math.prod(part.get_shape())
                    dtypes.add(str(part.get_dtype()))
        except (SafetensorError, OSError) as error:
            raise BaseRefused(f"{path} cannot be read ({error}): copy the base model again") from None
    return sizes, dtypes


def device() -> str:
    """Where training will compute: cuda or cpu. Needs torch."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
