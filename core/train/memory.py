"""What this process holds in memory: the model, its optimizer, and which resume point they equal."""

import dataclasses
import errno
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM
from transformers.utils import logging

from core.settings import Settings
from core.train import attention, checkpoint, moments
from core.train.packed import PackedModel
from core.train.refusals import BaseMissing, CannotRecompute
from core.train.snapshot import Buffer

UNKNOWN = "unknown"  # steps were taken since the last resume point


@dataclasses.dataclass(slots=True)
class Memory:
    """A model on its device.

    `holds`: path of the resume point it equals, or of the version whose weights it has with fresh moments;
    None for the base model, or UNKNOWN. `buffer`: for copies of the whole state, once one was made.
    """

    model: PackedModel
    optimizer: torch.optim.Optimizer
    attention: str
    built_for: tuple[Any, ...]
    holds: str | None = None
    flaws: frozenset[str] = frozenset()  # weights in which the base model itself has NaN or Inf
    buffer: Buffer | None = None

    @property
    def dtypes(self) -> dict[str, int]:
        """Parameters by type."""
        found: Counter[str] = Counter()
        for parameter in self.model.network.parameters():
            found[str(parameter.dtype).removeprefix("torch.")] += parameter.numel()
        return dict(found)


def settings_that_build(settings: Settings) -> tuple[Any, ...]:
    """What cannot be changed on a model in memory."""
    return (settings.precision,)


def build(base: Path, settings: Settings) -> Memory:
    """The base model with a fresh optimizer; on the GPU if there is one. `auto` recomputation is left off.

    Master weights are fp32 (bf16 with `pure_bf16`); bf16 autocast over them on a GPU. Refuses any other type
    of parameter, and a model whose packed rows cannot be kept apart.
    """
    logging.disable_progress_bar()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    wanted = torch.bfloat16 if settings.precision == "pure_bf16" else torch.float32
    try:
        network = AutoModelForCausalLM.from_pretrained(
            base, dtype=wanted, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, SafetensorError) as error:
        if getattr(error, "errno", None) not in (None, errno.ENOENT):
            raise  # the machine's trouble, not the model's
        raise BaseMissing(
            f"{base.name}: the base model cannot be loaded; put its files back as they were at the start"
        ) from error
    network.to(device)
    with torch.no_grad():
        # out of the file's memory map, into torch's own: the same alignment in every process
        for parameter in network.parameters():
            parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
    half = settings.precision == "bf16" or (settings.precision == "auto" and device.type == "cuda")
    model = PackedModel(network, torch.bfloat16 if half else None)
    memory = Memory(model, moments.adamw(network), attention.choose(model), settings_that_build(settings))
    if set(memory.dtypes) != {str(wanted).removeprefix("torch.")}:
        raise TypeError(f"{base.name}: parameters are {memory.dtypes}, {wanted} was asked for")
    recompute(memory, settings.gradient_checkpointing is True)
    return memory


def recompute(memory: Memory, wanted: bool) -> None:
    """Compute activations again in the backward pass, or keep them: the same bits, other memory and time."""
    network = memory.model.network
    # renamed within transformers 5: the new name first
    names = ("activation_checkpointing", "gradient_checkpointing")
    name = next(name for name in names if hasattr(network, f"is_{name}"))
    if wanted == getattr(network, f"is_{name}"):
        return
    if not wanted:
        getattr(network, f"{name}_disable")()
    elif network.supports_gradient_checkpointing:
        getattr(network, f"{name}_enable")({"use_reentrant": False})
    else:
        raise CannotRecompute(
            f"{type(network).__name__} cannot compute its activations again: set gradient_checkpointing to "
            "false, and max_length to less when it does not fit"
        )


def restore(memory: Memory, workspace: Path, path: str) -> None:
    """Make memory equal to a verified resume point (`path` relative to the workspace)."""
    memory.holds = UNKNOWN
    checkpoint.load(workspace / path, memory.model.network, memory.optimizer)
    memory.holds = path


def take_weights(memory: Memory, workspace: Path, path: str) -> None:
    """Give a model just built the weights of a verified version; its moments stay fresh."""
    memory.holds = UNKNOWN
    checkpoint.load_weights(workspace / path, memory.model.network)
    memory.holds = path
