"""Consolidation: a weights-only bf16 model of one resume point, or of the mean of several.

`python -P -m core.model.consolidation --to FOLDER SOURCE…`: a process of its own, because it needs torch.
The mean of weights along one training run is Izmailov et al. 2018 (Averaging Weights Leads to Wider Optima).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from db.processes import die_with_parent

WEIGHTS = "model.safetensors"
CONFIG = "config.json"
GENERATION = "generation_config.json"
#: What begins the one line of stderr that is meant for people.
MARK = "evertrain: "


class ConsolidationRefused(Exception):
    """These resume points make no model: what is wrong."""


def consolidate(sources: Sequence[Path], to: Path) -> None:
    """Write weights and configuration of the release to the folder `to`.

    Sums in fp32, newest first, tensor by tensor; one division; then rounded to bf16. What is no floating
    point number comes from the newest. Raises ConsolidationRefused, OSError.
    """
    import torch
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save_file

    released: dict[str, torch.Tensor] = {}
    try:
        with ExitStack() as stack:
            opened: list[Any] = [
                stack.enter_context(safe_open(source / WEIGHTS, framework="pt")) for source in sources
            ]
            for source, other in zip(sources, opened, strict=True):
                if set(other.keys()) != set(opened[0].keys()):
                    raise ConsolidationRefused(f"{source.name} holds other parameters than {sources[0].name}")
            for name in opened[0].keys():  # noqa: SIM118
                mean = opened[0].get_tensor(name)
                if mean.is_floating_point():
                    mean = mean.to(torch.float32)
                    for other in opened[1:]:
                        mean = mean + other.get_tensor(name).to(torch.float32)
                    mean = (mean / len(opened)).to(torch.bfloat16)
                    if not bool(torch.isfinite(mean).all()):
                        raise ConsolidationRefused(f"{name} is not finite in bf16")
                released[name] = mean.contiguous()
        save_file(released, to / WEIGHTS, metadata={"format": "pt"})
    except SafetensorError as error:
        raise ConsolidationRefused(f"a weights file cannot be read or written: {error}") from error
    config = json.loads((sources[0] / CONFIG).read_text(encoding="utf-8"))
    config.pop("torch_dtype", None)  # the older name
    config["dtype"] = "bfloat16"
    (to / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    if (sources[0] / GENERATION).exists():
        (to / GENERATION).write_bytes((sources[0] / GENERATION).read_bytes())
    _check(to)


def _check(folder: Path) -> None:
    """It loads as a reader would load it: all in bf16, nothing missing, the head tied where it should be."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    model, keys = AutoModelForCausalLM.from_pretrained(
        str(folder), dtype="auto", local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    for kind in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        if keys[kind]:
            raise ConsolidationRefused(f"what was written does not load, {kind}: {sorted(keys[kind])[:3]}")
    if {parameter.dtype for parameter in model.parameters()} != {torch.bfloat16}:
        raise ConsolidationRefused("what was written does not load in bf16")
    head, tied = model.get_output_embeddings(), model.config.tie_word_embeddings
    if tied and head is not None and head.weight is not model.get_input_embeddings().weight:
        raise ConsolidationRefused("the head is no longer tied to the embedding")


def main() -> int:
    """The process: 0, or 1 with one line for people on stderr."""
    die_with_parent()
    parser = argparse.ArgumentParser()
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("sources", type=Path, nargs="+")
    given = parser.parse_args()
    try:
        consolidate(given.sources, given.to)
    except (ConsolidationRefused, OSError) as error:
        print(f"{MARK}{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
