"""The disk's document: limits capped on small disks, growth that one clean-up does not bend."""

import random

import pytest

from core.settings import Settings
from events.types import Recorded, ResourcesSampled
from projections.disk import (
    DAY_US,
    KINDS,
    POINTS,
    document,
    floor_bytes,
    growth,
    history,
    target_bytes,
)

MINUTE_US = 60_000_000
GB = 10**9
CONFIG = {"disk_floor_gb": 10.0, "disk_target_gb": 50.0}


def samples(free: list[float | None], every: int = MINUTE_US) -> list[Recorded]:
    return [
        Recorded(
            n, n * every, "daemon", ResourcesSampled(every_seconds=5, columns={"disk_free_bytes": [value]})
        )
        for n, value in enumerate(free, start=1)
    ]


def test_floor_and_target_are_capped_on_a_small_disk() -> None:
    settings = Settings()

    assert (10 * GB, 50 * GB) == (
        floor_bytes(settings.disk_floor_gb, 1000 * GB),
        target_bytes(settings.disk_target_gb, 1000 * GB),
    )
    assert floor_bytes(settings.disk_floor_gb, 100 * GB) == pytest.approx(5 * GB)
    assert target_bytes(settings.disk_target_gb, 100 * GB) == pytest.approx(20 * GB)


def test_growth_is_read_from_the_samples_and_one_clean_up_does_not_bend_it() -> None:
    chance = random.Random(0)
    per_minute = 1e6
    free = [500e9 - n * per_minute + chance.uniform(-2e6, 2e6) for n in range(600)]
    cleaned = [value + (30e9 if n > 550 else 0) for n, value in enumerate(free)]

    expected = per_minute * DAY_US / MINUTE_US
    for values in (free, cleaned):
        assert growth(history(samples(list(values)))) == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize("values", [[], [1e9], [None] * 90, [1e9] * 59])
def test_too_little_history_says_nothing(values: list[float | None]) -> None:
    assert growth(history(samples(values))) is None


def test_a_long_history_is_thinned_and_ends_with_the_newest() -> None:
    facts = samples([float(n) for n in range(5000)])
    points = history(facts)

    assert POINTS // 2 <= len(points) <= POINTS
    assert (facts[-1].at, 4999.0) == points[-1]
    assert sorted(points) == points


def test_the_days_left_end_at_the_floor() -> None:
    free = [100e9 - n * 1e9 for n in range(61)]
    whole = 10_000 * GB
    found = document(
        free_bytes=int(free[-1]), total_bytes=whole, config=CONFIG, kinds={"log": 5, "versions": 7},
        reclaimable={"tokens": 3, "logs": 4}, samples=samples(list(free)),
    )  # fmt: skip

    assert found["growth_bytes_per_day"] == pytest.approx(1440e9)
    assert found["days_left"] == pytest.approx((free[-1] - 10e9) / 1440e9)
    assert (7, 10 * GB, 50 * GB) == (
        found["reclaimable_bytes"], found["floor_bytes"], found["target_bytes"],
    )  # fmt: skip
    assert {kind: {"log": 5, "versions": 7}.get(kind, 0) for kind in KINDS} == found["kinds"]


@pytest.mark.parametrize("values", [[50e9] * 90, [50e9 + n for n in range(90)], []])
def test_a_disk_that_does_not_fill_has_no_last_day(values: list[float | None]) -> None:
    found = document(
        free_bytes=50 * GB, total_bytes=1000 * GB, config=CONFIG, kinds={}, reclaimable={},
        samples=samples(values),
    )  # fmt: skip

    assert found["days_left"] is None
    assert {"free_bytes", "floor_bytes", "target_bytes", "kinds", "reclaimable_bytes", "days_left"} <= set(
        found
    )
