"""Xid numbers: what NVIDIA's driver says of a GPU's trouble in the kernel's log, and what helps. Pure.

Source of the meanings and actions: NVIDIA, "XID Errors" (docs.nvidia.com/deploy/xid-errors).
"""

import re

#: What helps, from the lightest to the heaviest.
ACTIONS = {
    "restart": "Nothing has to be done: the trainer starts again by itself.",
    "reset": "Reset the GPU (nvidia-smi --gpu-reset with nothing running on it), or reboot.",
    "reboot": "Reboot; when it comes again, look at the GPU's slot, power and cooling.",
    "retire": "Have the GPU replaced.",
}

#: Number → what it says, which action.
XIDS: dict[int, tuple[str, str]] = {
    13: ("a program's error on the GPU", "restart"),
    31: ("a program read or wrote where it may not on the GPU", "restart"),
    43: ("the GPU stopped answering a program", "restart"),
    45: ("the driver ended a program's work", "restart"),
    48: ("two bits of the GPU's memory were wrong at once (ECC)", "reset"),
    62: ("the GPU's controller halted", "reset"),
    63: ("a bad row of the GPU's memory was set aside", "reset"),
    64: ("a bad row of the GPU's memory could not be set aside", "retire"),
    74: ("the link between GPUs failed", "reset"),
    79: ("the GPU has fallen off the bus", "reboot"),
    94: ("bits of the GPU's memory were wrong, and only one program was harmed (ECC)", "restart"),
    95: ("bits of the GPU's memory were wrong, and any program may be harmed (ECC)", "reset"),
    119: ("the GPU's own processor no longer answers", "reset"),
    120: ("the GPU's own processor failed", "reset"),
}

LINE = re.compile(r"NVRM: Xid \([^)]*\): (\d+)\b")


def numbers(text: str) -> list[int]:
    """Every Xid of the kernel's log, in its order."""
    return [int(found) for found in LINE.findall(text)]


def heaviest(found: list[int]) -> int | None:
    """The one that needs the heaviest action, for one trouble often brings several; unknown ones last."""
    order = list(ACTIONS)
    weight = {number: order.index(action) for number, (_, action) in XIDS.items()}
    return max(found, key=lambda number: weight.get(number, -1), default=None)
