"""How much work a checked file will be: steps by arithmetic, time by the speed of the newest steps."""

from core.settings import Settings
from events.types import StepsCompleted


def steps(rows: int, tokens: int, settings: Settings) -> int:
    """Optimizer steps that so many accepted rows and tokens will take, hold-out left out, windows full.

    The plan of the run (`core.decide.batches`) counts exactly; rows that fit badly make it a little more.
    """
    if not rows:
        return 0
    held = min(int(settings.validation_fraction * rows), settings.validation_max_rows)
    windows = -(-int(tokens * (rows - held) / rows) // settings.max_length)
    return -(-windows // (settings.batch_size * settings.gradient_accumulation)) * settings.epochs


def tokens_per_second(newest: StepsCompleted | None) -> float | None:
    """The speed of the newest steps in the log; None before the first."""
    if newest is None:
        return None
    tokens, seconds = newest.columns.get("tokens", ()), newest.columns.get("seconds", ())
    spent = sum(second for second in seconds if second is not None)
    return sum(count for count in tokens if count is not None) / spent if spent > 0 else None


def seconds(tokens: int, epochs: int, speed: float | None) -> float | None:
    """Time to train so many tokens; None where no speed is known. Loading and evaluations come on top."""
    return tokens * epochs / speed if speed else None
