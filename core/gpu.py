"""The machine's numbers: GPUs through NVML, memory, disk. What cannot be known is left out, never 0."""

import contextlib
from pathlib import Path
from typing import Any

import psutil


def gpus() -> list[dict[str, Any]]:
    """One entry per GPU that the driver shows; none without a driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    found = []
    try:
        for index in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            one: dict[str, Any] = dict.fromkeys(
                ("name", "memory_used_bytes", "memory_total_bytes", "utilization", "temperature_c", "power_w")
            )
            # each reading by itself: a card may know its memory and not its power
            with contextlib.suppress(pynvml.NVMLError):
                name = pynvml.nvmlDeviceGetName(handle)
                one["name"] = name.decode() if isinstance(name, bytes) else name
            with contextlib.suppress(pynvml.NVMLError):
                memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
                one["memory_used_bytes"], one["memory_total_bytes"] = int(memory.used), int(memory.total)
            with contextlib.suppress(pynvml.NVMLError):
                one["utilization"] = int(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)
            with contextlib.suppress(pynvml.NVMLError):
                one["temperature_c"] = int(
                    pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)
                )
            with contextlib.suppress(pynvml.NVMLError):
                one["power_w"] = pynvml.nvmlDeviceGetPowerUsage(handle) / 1000
            found.append(one)
    finally:
        pynvml.nvmlShutdown()
    return found


def driver_version() -> str | None:
    """The NVIDIA driver's version; None without one."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        version = pynvml.nvmlSystemGetDriverVersion()
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()
    return version.decode() if isinstance(version, bytes) else str(version)


def sample(workspace: Path) -> dict[str, Any]:
    """GPU, RAM and disk at this moment, in bytes and percent."""
    memory = psutil.virtual_memory()
    disk = psutil.disk_usage(str(workspace))
    return {
        "gpu": gpus(),
        "ram": {"used_bytes": memory.total - memory.available, "total_bytes": memory.total},
        "disk": {"free_bytes": disk.free, "total_bytes": disk.total},
    }
