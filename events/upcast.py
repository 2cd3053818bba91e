"""Old facts never die: pure steps that lift a stored payload from one version of its shape to the next."""

from collections.abc import Callable, Mapping
from typing import Any

#: (stored name, version) → the payload one version higher. Added to, never edited.
Upcasts = Mapping[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]]

UPCASTS: Upcasts = {}


def upcast(
    name: str, version: int, newest: int, data: dict[str, Any], steps: Upcasts = UPCASTS
) -> dict[str, Any]:
    """Lift `data` to the newest shape, version by version. Raises KeyError when a step is missing."""
    for at in range(version, newest):
        data = steps[name, at](data)
    return data
