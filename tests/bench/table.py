"""The bench's table: arms measured in turn, ratios per round, medians and spread, one line each."""

import gc
import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any


def timed(arms: Mapping[str, Callable[[], Any]], rounds: int = 7) -> dict[str, list[float]]:
    """CPU seconds of each arm, in turn, after one round to warm up."""
    gc.collect()
    gc.freeze()                 # what transformers alone has brought in is not to be gone through for any arm

    def alone(arm: Callable[[], Any]) -> Callable[[], float]:
        def seconds() -> float:
            gc.collect()
            began = time.process_time()
            arm()
            return time.process_time() - began

        return seconds

    measured = {name: alone(arm) for name, arm in arms.items()}
    in_turn(measured, 1)
    return in_turn(measured, rounds)


def in_turn(arms: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each arm returns, round by round: a busy moment hits all of them."""
    found: dict[str, list[float]] = {name: [] for name in arms}
    for _ in range(rounds):
        for name, arm in arms.items():
            found[name].append(arm())
    return found


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """One ratio for each round."""
    return [a / b for a, b in zip(above, below, strict=True)]


def tell(name: str, bar: str, seconds: Sequence[float], **more: Any) -> None:
    """A line of the table in seconds, printed and kept where BENCH_JSON says."""
    tell_of(name, bar, seconds, unit="s", **more)


def tell_of(name: str, bar: str, values: Sequence[float], *, unit: str, digits: int = 3, **more: Any) -> None:
    """A line of the table: median, least and most of the values in this unit; the bar it is judged by."""
    row = {
        "what": name,
        "bar": bar,
        f"median_{unit}": round(statistics.median(values), digits),
        f"min_{unit}": round(min(values), digits),
        f"max_{unit}": round(max(values), digits),
        **more,
    }
    median, least, most = (row[f"{kind}_{unit}"] for kind in ("median", "min", "max"))
    print(f"\n{name:<34} median {median} {unit} ({least} to {most}), bar {bar} {more or ''}", end="")
    keep(row)


def keep(row: Mapping[str, Any]) -> None:
    """A line in the file BENCH_JSON, if there is one."""
    if path := os.environ.get("BENCH_JSON"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
