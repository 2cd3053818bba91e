"""Which figures of training and machine are worth a warning? Every number in one place. Pure.

An alert is raised at one figure and cleared at a calmer one, or after some calm steps, so that a value at the
border does not ring for ever.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from events.types import AlertCleared, AlertRaised, Event

GPU_HOT_C, GPU_COOL_C = 85, 80
RAM_FULL, RAM_EASY = 0.85, 0.80  # share of the machine's memory
SLOW, FAST_AGAIN = 0.6, 0.7  # tokens per second, against the baseline
RATE_WEIGHT = 0.1  # of the newest step in the moving mean of tokens per second
BASELINE_STEP = 20  # the moving mean at that step is the baseline
LOSS_FACTOR, LOSS_MEAN_OF = 2.0, 10  # a loss against the mean of so many before it
GRAD_NORM = 100.0  # before clipping
CALM_STEPS = 10  # without another one, until a jump of loss or norm is over


@dataclass(frozen=True, slots=True)
class Trend:
    """What the newest steps of one run came to."""

    run: str
    steps: int = 0
    rate: float | None = None  # tokens per second, moving mean
    baseline: float | None = None
    losses: tuple[float, ...] = ()  # the newest LOSS_MEAN_OF
    jump: tuple[int, float, float] | None = None  # the newest step whose loss jumped, the loss, the mean
    steep: tuple[int, float] | None = None  # the newest step with a large gradient, and its norm


def follow(trend: Trend, columns: Mapping[str, Sequence[float | int | None]]) -> Trend:
    """The trend after a fact of steps; a value that is not known moves nothing."""
    rows = zip(
        columns["loss"], columns["grad_norm"], columns["tokens"], columns["seconds"], strict=True
    )
    for loss, norm, tokens, seconds in rows:
        trend = replace(trend, steps=trend.steps + 1)
        if tokens is not None and seconds:
            trend = _timed(trend, tokens / seconds)
        if loss is not None:
            mean = fmean(trend.losses) if len(trend.losses) == LOSS_MEAN_OF else None
            if mean is not None and mean > 0 and loss >= LOSS_FACTOR * mean:
                trend = replace(trend, jump=(trend.steps, float(loss), mean))
            trend = replace(trend, losses=(*trend.losses, float(loss))[-LOSS_MEAN_OF:])
        if norm is not None and norm > GRAD_NORM:
            trend = replace(trend, steep=(trend.steps, float(norm)))
    return trend


def _timed(trend: Trend, rate: float) -> Trend:
    mean = rate if trend.rate is None else (1 - RATE_WEIGHT) * trend.rate + RATE_WEIGHT * rate
    return replace(trend, rate=mean, baseline=mean if trend.steps == BASELINE_STEP else trend.baseline)


def of_training(trend: Trend | None, raised: Collection[str]) -> list[Event]:
    """What is to be raised and cleared about a run's steps; without a run, nothing is wrong with any."""
    share = trend.rate / trend.baseline if trend is not None and trend.rate and trend.baseline else 1.0
    slow = (
        f"training has slowed down to {share:.0%} of its tokens per second at step {BASELINE_STEP}: "
        "does something else use the machine, is it hot?"
    )
    jumped = steepened = ""
    if trend is not None and trend.jump is not None and _is_recent(trend, trend.jump[0]):
        _, loss, mean = trend.jump
        jumped = (
            f"the loss jumped to {loss:.3g}, the mean of the {LOSS_MEAN_OF} steps before was {mean:.3g}: "
            "look at the rows of the file, or lower learning_rate"
        )
    if trend is not None and trend.steep is not None and _is_recent(trend, trend.steep[0]):
        steepened = (
            f"the gradient's norm was {trend.steep[1]:.3g} before it was cut to 1 "
            f"(large: over {GRAD_NORM:g}): these rows are far from what the model knows, or learning_rate is "
            "too high"
        )
    is_slow = share < (FAST_AGAIN if "throughput" in raised else SLOW)
    return _changes(
        raised,
        (is_slow, AlertRaised(severity="warning", type="throughput", detail=slow)),
        (bool(jumped), AlertRaised(severity="warning", type="loss_jump", detail=jumped)),
        (bool(steepened), AlertRaised(severity="warning", type="grad_norm", detail=steepened)),
    )


def _is_recent(trend: Trend, step: int) -> bool:
    return trend.steps - step < CALM_STEPS


def of_machine(sample: Mapping[str, Any], cards: int, raised: Collection[str]) -> list[Event]:
    """What is to be raised and cleared about a sample. `cards`: the most GPUs that have answered so far."""
    cards = max(cards, len(sample["gpu"]))  # the driver shows a lost one still, which says nothing
    known = [card for card in sample["gpu"] if answers(card)]
    hottest = max((card["temperature_c"] for card in known if card["temperature_c"] is not None), default=0)
    share = sample["ram"]["used_bytes"] / sample["ram"]["total_bytes"]
    hot = f"a GPU has {hottest} °C: look at its fans and the air around it; it slows itself down"
    lost = (
        f"{cards - len(known)} of {cards} GPUs no longer answer: look for Xid lines in dmesg, "
        "reset the GPU or reboot"
    )
    full = f"{share:.0%} of the memory is used: end other programs before the kernel ends one"
    is_hot = hottest >= (GPU_COOL_C if "gpu_hot" in raised else GPU_HOT_C)
    is_full = share >= (RAM_EASY if "ram" in raised else RAM_FULL)
    return _changes(
        raised,
        (is_hot, AlertRaised(severity="warning", type="gpu_hot", detail=hot)),
        (len(known) < cards, AlertRaised(severity="serious", type="gpu_lost", detail=lost)),
        (is_full, AlertRaised(severity="warning", type="ram", detail=full)),
    )


def answers(card: Mapping[str, Any]) -> bool:
    """Is anything known of this GPU? A lost one says nothing."""
    return any(value is not None for value in card.values())


def _changes(raised: Collection[str], *rules: tuple[bool, AlertRaised]) -> list[Event]:
    found: list[Event] = []
    for is_on, alert in rules:
        if is_on and alert.type not in raised:
            found.append(alert)
        elif not is_on and alert.type in raised:
            found.append(AlertCleared(type=alert.type))
    return found
