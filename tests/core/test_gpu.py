"""The GPU's numbers, by the real pynvml from a small libnvidia-ml made here: null where unknown, never 0."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from core.decide.alerts import GPU_HOT_C, answers, of_machine
from tests.conftest import tool

SOURCE = Path(__file__).with_name("fake_nvml.c")
ROOT = Path(__file__).parents[2]
#: Each list of cards in turn, by one process: the driver may come and go while it lives.
SCENES = ("ok", "ok,hot", "ok,lost", "mute", "unset", "gone", "")
LOOK = """
import json, os, pynvml
from core.gpu import driver_version, gpus
seen = {}
for scene in %r:
    os.environ["FAKE_NVML"] = scene
    seen[scene] = [gpus(), driver_version()]
print(json.dumps([pynvml.__name__, seen]))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Scene → (cards, driver's version), as evertrain reads them."""
    folder = tmp_path_factory.mktemp("nvml")
    compiler = tool("cc", "cc", "gcc", "clang")
    library = folder / "libnvidia-ml.so.1"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-Wall", "-Werror", "-o", str(library), str(SOURCE)], check=True
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", LOOK % (SCENES,)],
        env={**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    name, found = json.loads(done.stdout)
    assert "pynvml" == name
    return dict(found)


def test_a_healthy_card_tells_all(seen: dict[str, Any]) -> None:
    (card,), driver = seen["ok"]

    assert "580.00" == driver
    assert {
        "name": "Fake 9000", "memory_used_bytes": 4 << 30, "memory_total_bytes": 24 << 30, "utilization": 73,
        "temperature_c": 60, "power_w": 250.5,
    } == card  # fmt: skip


def test_what_a_card_does_not_know_is_null_and_the_rest_is_told(seen: dict[str, Any]) -> None:
    (mute,), _ = seen["mute"]
    (unset,), _ = seen["unset"]

    assert {"utilization", "temperature_c", "power_w"} == {key for key in mute if mute[key] is None}
    assert ["power_w"] == [key for key in unset if unset[key] is None]


def test_a_lost_card_is_all_nulls_beside_one_that_works(seen: dict[str, Any]) -> None:
    (works, lost), _ = seen["ok,lost"]

    assert [True, False] == [answers(works), answers(lost)]
    assert works.keys() == lost.keys()


@pytest.mark.parametrize("scene", ["gone", ""])
def test_without_driver_or_cards_there_are_none(seen: dict[str, Any], scene: str) -> None:
    assert [] == seen[scene][0]
    assert (None if scene == "gone" else "580.00") == seen[scene][1]


def test_heat_and_loss_of_a_card_are_alerts_that_go_again(seen: dict[str, Any]) -> None:
    def told(scene: str, raised: set[str]) -> list[tuple[str, str]]:
        sample = {"gpu": seen[scene][0], "ram": {"used_bytes": 1, "total_bytes": 9}}
        return [(type(e).__name__, getattr(e, "type")) for e in of_machine(sample, 2, raised)]  # noqa: B009

    assert 91 >= GPU_HOT_C
    assert [("AlertRaised", "gpu_hot")] == told("ok,hot", set())
    assert [("AlertRaised", "gpu_lost")] == told("ok,lost", set()) == told("gone", set())
    assert [] == told("ok,hot", {"gpu_hot"})
    assert [("AlertCleared", "gpu_hot"), ("AlertRaised", "gpu_lost")] == told("ok,lost", {"gpu_hot"})
