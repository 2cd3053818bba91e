"""What a model folder says of itself, without loading a weight: its dimensions, types and special tokens."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.decide.memory import Dimensions
from core.model.refusal import BaseRefused

HEAD = "lm_head.weight"
#: Activations that transformers writes out in several operations, each keeping its input.
WRITTEN_OUT = frozenset({"gelu_new", "gelu_fast", "quick_gelu", "mish"})


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

    Needs transformers.
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
    try:
        found = dimensions(config, sizes)
    except (AttributeError, TypeError) as error:
        raise BaseRefused(f"{folder}/config.json names no size of a decoder ({error})") from None
    return Description(
        architecture=(whole.architectures or ["none"])[0],
        dimensions=found,
        dtypes=tuple(sorted(dtypes)),
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
    )


def dimensions(config: Any, sizes: Mapping[str, int]) -> Dimensions:
    """A decoder's sizes from its config and the number of values of each tensor in its files, by name.

    What is not of a known kind (experts, other mixers than attention, dropout within attention, which keeps
    every weight of it) is `known=False`: parameters are still counted in the files, activations are then
    those of a plain decoder of this width. Raises AttributeError, TypeError when a size is missing.
    """
    # some files hold a tied head as well, as a copy that is never loaded
    tied = bool(getattr(config, "tie_word_embeddings", True)) or HEAD not in sizes
    heads, hidden = int(config.num_attention_heads), int(config.hidden_size)
    named = (getattr(config, name, None) for name in ("intermediate_size", "n_inner", "ffn_dim"))
    gated = any("gate" in name and ".experts." not in name for name in sizes)
    activation = str(getattr(config, "hidden_act", None) or getattr(config, "activation_function", None))
    rms = any("rms_norm" in key for key in config.to_dict())
    first = {name for name in sizes if re.search(r"(layers|h|blocks)\.0\.", name)}
    norms = {name for name in first if re.search(r"(norm|ln_?\d)[^.]*\.weight$", name)}
    apart = {name for name in norms if re.search(r"[qk]_?(layer)?norm", name)}
    dropout = getattr(config, "attention_dropout", None) or getattr(config, "attn_pdrop", None) or 0.0
    mixers = {str(kind) for kind in getattr(config, "layer_types", None) or ()}
    plain = not any("expert" in name for name in sizes) and all("attention" in kind for kind in mixers)
    return Dimensions(
        layers=int(config.num_hidden_layers),
        hidden=hidden,
        intermediate=int(next(filter(None, named), 4 * hidden)),
        heads=heads,
        kv_heads=int(getattr(config, "num_key_value_heads", None) or heads),
        head_size=int(getattr(config, "head_dim", None) or hidden // heads),
        vocabulary=int(config.vocab_size),
        tied=tied,
        qk_norm=bool(apart),
        attention_bias=any(name.endswith("q_proj.bias") for name in sizes),
        counted=sum(size for name, size in sizes.items() if not (tied and name == HEAD)),
        norms=len(norms - apart) or 2,
        norm_bytes=8 if rms else 4,
        inner=4 if gated else 5 if activation in WRITTEN_OUT else 2,
        known=plain and bool(norms) and not dropout and not any("linear" in kind for kind in mixers),
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


def card_bytes() -> int:
    """All memory of the card that is trained on. Needs torch and a card."""
    import torch

    return int(torch.cuda.mem_get_info()[1])
