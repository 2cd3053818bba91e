"""What a try at a run rests on beside its data: device, threads, versions of what computes."""

import platform
from functools import cache
from importlib.metadata import version

import torch

LIBRARIES = ("torch", "transformers", "accelerate", "safetensors", "numpy")


def device_name(device: torch.device) -> str:
    """As `AttemptStarted` has it; on a CPU with the number of threads, which is part of bit-identity."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu, {torch.get_num_threads()} threads"


def threads_of(device: str) -> int | None:
    """The threads in a device's name; None where it is no CPU."""
    kind, _, rest = device.partition(", ")
    return int(rest.split()[0]) if kind == "cpu" and rest else None


@cache
def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in LIBRARIES}}


def software() -> dict[str, str]:
    """Name → version; `cpu`: the vector instructions torch computes with, which round in their own way."""
    return {**_versions(), "cpu": torch.backends.cpu.get_cpu_capability()}
