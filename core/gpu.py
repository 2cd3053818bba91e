"""The machine's numbers: GPUs through NVML, memory, disk. What cannot be known is left out, never 0."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

READINGS = ("name", "memory_used_bytes", "memory_total_bytes", "utilization", "temperature_c", "power_w")
#: How NVML says "not available" in an unsigned number (NVML_VALUE_NOT_AVAILABLE is -1).
UNKNOWN = (2**32 - 1, 2**64 - 1)


def gpus() -> list[dict[str, Any]]:
    """One entry per GPU that the driver shows; none without a driver. A lost one has nothing but nulls."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        return [_card(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())]
    except pynvml.NVMLError:
        return []
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _card(nvml: Any, index: int) -> dict[str, Any]:
    """Each reading by itself: a card may know its memory and not its power."""
    one: dict[str, Any] = dict.fromkeys(READINGS)

    def read(ask: Callable[[], dict[str, Any]]) -> None:
        with contextlib.suppress(nvml.NVMLError):
            one.update({key: None if value in UNKNOWN else value for key, value in ask().items()})

    try:
        card = nvml.nvmlDeviceGetHandleByIndex(index)
    except nvml.NVMLError:
        return one
    read(lambda: {"name": _text(nvml.nvmlDeviceGetName(card))})
    read(lambda: _memory(nvml.nvmlDeviceGetMemoryInfo(card)))
    read(lambda: {"utilization": int(nvml.nvmlDeviceGetUtilizationRates(card).gpu)})
    read(lambda: {"temperature_c": int(nvml.nvmlDeviceGetTemperature(card, nvml.NVML_TEMPERATURE_GPU))})
    read(lambda: {"power_w": int(nvml.nvmlDeviceGetPowerUsage(card))})  # in mW
    if one["power_w"] is not None:
        one["power_w"] /= 1000
    return one


def _memory(found: Any) -> dict[str, Any]:
    return {"memory_used_bytes": int(found.used), "memory_total_bytes": int(found.total)}


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def driver_version() -> str | None:
    """The NVIDIA driver's version; None without one."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return _text(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return None
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def sample(workspace: Path) -> dict[str, Any]:
    """GPU, RAM and disk at this moment, in bytes and percent."""
    memory = psutil.virtual_memory()
    disk = psutil.disk_usage(str(workspace))
    return {
        "gpu": gpus(),
        "ram": {"used_bytes": memory.total - memory.available, "total_bytes": memory.total},
        "disk": {"free_bytes": disk.free, "total_bytes": disk.total},
    }
