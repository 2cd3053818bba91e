"""The settings: every key of config.json, its default and its range. Pure; `core.config` reads the file."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class StopSequences:
    pool: tuple[str, ...]
    min: int = 2
    max: int = 4
    instruction: bool = True


@dataclass(frozen=True, slots=True)
class Penalty:
    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class Backup:
    target: str = "backups"
    every_hours: float = 24
    keep: dict[str, int] = field(default_factory=lambda: {"daily": 7, "weekly": 4, "monthly": 6})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a person may set; CONTRACT of each key in docs/QUICKSTART.md."""

    batch_size: int = 1
    gradient_accumulation: int = 4
    learning_rate: float = 2e-4
    lr_schedule: str = "constant"
    warmup_steps: int = 100
    epochs: int = 1
    max_bad_rows: float = 0.1
    max_length: int = 4096
    too_long: str = "drop"
    eval_steps: int = 50
    save_steps: int = 500
    validation_fraction: float = 0.05
    validation_max_rows: int = 100
    fixed_validation: str | None = None
    poll_interval: float = 30
    precision: str = "auto"
    gradient_checkpointing: bool | str = "auto"
    seed: int = 42
    logit_penalties: tuple[Penalty, ...] = ()
    stop_sequences: StopSequences | None = None
    think_prefix: StopSequences | None = None
    system_prompt: str | None = None
    checkpoints_keep: int = 3
    versions_keep: dict[str, int] = field(
        default_factory=lambda: {"last": 10, "daily": 7, "weekly": 4, "best": 3}
    )
    backup: Backup = field(default_factory=Backup)
    disk_floor_gb: float = 10
    disk_target_gb: float = 50
    max_attempts: int = 3
    report_to: tuple[str, ...] = ()


CHOICES: dict[str, tuple[Any, ...]] = {
    "lr_schedule": ("constant", "cosine_per_file", "wsd"),
    "too_long": ("drop", "truncate", "reject"),
    "precision": ("auto", "fp32", "bf16", "pure_bf16"),
    "gradient_checkpointing": ("auto", True, False),
}

TRACKERS = ("tensorboard", "wandb", "trackio", "mlflow")
#: Folders of the workspace that a relative backup.target may not be.
OURS = ("", ".", "..", "inbox", "queue", "models", "status", "logs", ".evertrain")

RANGES: dict[str, tuple[float, float]] = {
    "batch_size": (1, 128),
    "gradient_accumulation": (1, 128),
    "learning_rate": (1e-6, 1e-2),
    "warmup_steps": (0, 1_000_000),
    "epochs": (1, 1000),
    "max_bad_rows": (0.0, 1.0),
    "max_length": (128, 32768),
    "eval_steps": (1, 10_000_000),
    "save_steps": (1, 10_000_000),
    "validation_fraction": (0.0, 0.5),
    "validation_max_rows": (0, 1_000_000),
    "poll_interval": (0.2, 3600),
    "seed": (0, 2**63 - 1),
    "checkpoints_keep": (1, 10_000),
    "disk_floor_gb": (0, 1_000_000),
    "disk_target_gb": (0, 1_000_000),
    "max_attempts": (1, 1000),
}


#: The rules of a keeping policy (`core.decide.retention.select`); backups have no score to be best by.
RULES = ("last", "daily", "weekly", "monthly", "best")


def problems(settings: Settings) -> list[str]:
    """What is out of range, in words: the key, the value and what is allowed."""
    found = []
    for key, allowed in CHOICES.items():
        value = getattr(settings, key)
        # `True == 1`: compare types as well
        if not any(value == choice and type(value) is type(choice) for choice in allowed):
            found.append(f"{key}: {value!r} is not one of {', '.join(map(repr, allowed))}")
    for key, (low, high) in RANGES.items():
        value = getattr(settings, key)
        if not low <= value <= high:
            found.append(f"{key}: {value!r} is outside {low:g} … {high:g}")
    if settings.fixed_validation is not None and not settings.fixed_validation.endswith(".jsonl"):
        found.append(f"fixed_validation: {settings.fixed_validation!r} is not the path of a .jsonl file")
    for key in ("stop_sequences", "think_prefix"):
        value = getattr(settings, key)
        if value is not None and (not value.pool or not 1 <= value.min <= value.max <= 16):
            found.append(f"{key}: needs a pool of at least one text and 1 <= min <= max <= 16, got {value!r}")
        elif value is not None and not _are_apart(value.pool):
            found.append(
                f"{key}: pool: {value.pool!r}: texts without spaces, none the beginning or end of another"
            )
    for tracker in settings.report_to:
        if tracker not in TRACKERS:
            found.append(f"report_to: {tracker!r} is not one of {', '.join(map(repr, TRACKERS))}")
    found += _backup_problems(settings.backup)
    for penalty in settings.logit_penalties:
        if not penalty.text or not penalty.weight > 0:
            found.append(f"logit_penalties: {penalty!r} needs a text and a weight above 0")
    found += _policy_problems("versions_keep", settings.versions_keep, RULES)
    found += _policy_problems("backup.keep", settings.backup.keep, RULES[:-1])
    return found


def _policy_problems(key: str, policy: dict[str, int], rules: tuple[str, ...]) -> list[str]:
    found = [
        f"{key}.{rule}: {number!r}: the rules are {', '.join(rules)}, each with a number from 0 on"
        for rule, number in policy.items()
        if rule not in rules or number < 0
    ]
    if not found and not any(policy.values()):
        found.append(f"{key}: {policy!r} keeps nothing: at least one rule must be above 0")
    return found


def _backup_problems(backup: Backup) -> list[str]:
    """`backup.keep` is checked where retention reads it."""
    found, target = [], backup.target
    if not 0 < backup.every_hours <= 8784:
        found.append(f"backup.every_hours: {backup.every_hours!r} is outside 0 … 8784, 0 excluded")
    scheme, _, rest = target.partition("://")
    parts = target.split("/")
    inside = not rest and not target.startswith(("/", "~"))
    if not target.strip() or (inside and (parts[0] in OURS or ".." in parts)):
        found.append(
            f"backup.target: {target!r} is no place for backups; give a folder of their own "
            "(a relative one lies inside the workspace) or an fsspec URL"
        )
    if rest and "@" in rest.split("/")[0] and ":" in rest.split("@")[0]:
        found.append(
            f"backup.target: a password in the {scheme} URL would stand in the log for ever; "
            "give credentials by the environment"
        )
    return found


def _are_apart(pool: tuple[str, ...]) -> bool:
    """Can repetitions of these texts be told from one another? U+FE0F makes no difference."""
    bare = [text.replace("\N{VARIATION SELECTOR-16}", "") for text in pool]
    return all(text and not any(map(str.isspace, text)) for text in bare) and not any(
        one.startswith(other) or one.endswith(other)
        for n, one in enumerate(bare) for m, other in enumerate(bare) if n != m
    )
