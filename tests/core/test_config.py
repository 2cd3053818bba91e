"""config.json: every wrong key is named with its value and what is allowed."""

import importlib
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from core.config import ConfigInvalid, changes, digest, load, parse, plain
from core.settings import CHOICES, RANGES, Settings


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("epochs", 0, "1 … 1000"),
        ("epochs", 1.5, "int"),
        ("epochs", True, "int"),
        ("epochs", "1", "int"),
        ("epochs", None, "int"),
        ("learning_rate", 1, "1e-06 … 0.01"),
        ("learning_rate", "fast", "float"),
        ("lr_schedule", "linear", "'cosine_per_file'"),
        ("too_long", "", "'truncate'"),
        ("gradient_checkpointing", 1, "gradient_checkpointing"),
        ("precision", "fp16", "'bf16'"),
        ("logit_penalties", [{"text": "x"}], "weight"),
        ("logit_penalties", [{"text": "", "weight": 1}], "text"),
        ("logit_penalties", "x", "logit_penalties"),
        ("stop_sequences", {"pool": []}, "pool"),
        ("versions_keep", {"last": "ten"}, "versions_keep.last"),
        ("versions_keep", {"last": True}, "versions_keep.last"),
        ("versions_keep", {"last": 1.5}, "versions_keep.last"),
        ("versions_keep", {"yearly": 1}, "monthly"),
        ("versions_keep", {"last": 1, "best": -1}, "from 0 on"),
        ("versions_keep", {}, "at least one"),
        ("versions_keep", {"last": 0, "daily": 0}, "at least one"),
        ("backup", {"keep": {"best": 1}}, "last, daily, weekly, monthly"),
        ("backup", {"keep": {}}, "at least one"),
        ("backup", {"targte": "x"}, "backup.targte"),
        ("backup", {"every_hours": 0}, "0 excluded"),
        ("backup", {"every_hours": 1e9}, "8784"),
        ("backup", {"every_hours": "often"}, "float"),
        ("backup", {"target": " "}, "a folder of their own"),
        ("backup", {"target": "."}, "a folder of their own"),
        ("backup", {"target": "models/backups"}, "a folder of their own"),
        ("backup", {"target": "backups/../queue"}, "a folder of their own"),
        ("backup", {"target": "ftp://me:secret@host/store"}, "by the environment"),
        ("system_prompt", 5, "system_prompt"),
        ("fixed_validation", "", ".jsonl"),
        ("report_to", ["comet"], "'tensorboard', 'wandb', 'trackio', 'mlflow'"),
        ("report_to", "wandb", "tuple"),
        ("fixed_validation", "rows.json", ".jsonl"),
        ("checkpoints_keep", -1, "checkpoints_keep"),
    ],
)
def test_a_wrong_value_is_refused_with_the_key_and_what_is_allowed(
    key: str, value: Any, allowed: str
) -> None:
    with pytest.raises(ConfigInvalid) as refusal:
        parse({key: value})

    assert 1 == len(refusal.value.problems)
    assert key in refusal.value.problems[0]
    assert allowed in refusal.value.problems[0]


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigInvalid) as refusal:
        parse({"epoch": 1, "epochs": "x", "sead": 2})

    assert 3 == len(refusal.value.problems)
    assert "known are" in refusal.value.problems[0]


@pytest.mark.parametrize("key", sorted(RANGES))
def test_both_ends_of_a_range_are_allowed_and_nothing_beyond(key: str) -> None:
    low, high = RANGES[key]
    kind = {field.name: field.type for field in fields(Settings)}[key]
    step = 1 if kind in (int, "int") else (high - low) / 10
    for value in (low, high):
        number = int(value) if kind in (int, "int") else value
        assert number == getattr(parse({key: number}), key)
    for value in (low - step, high + step):
        with pytest.raises(ConfigInvalid):
            parse({key: int(value) if kind in (int, "int") else value})


@pytest.mark.parametrize("key", sorted(CHOICES))
def test_every_choice_is_allowed(key: str) -> None:
    for choice in CHOICES[key]:
        assert choice is getattr(parse({key: choice}), key) or choice == getattr(parse({key: choice}), key)


@pytest.mark.parametrize(
    "target", ["backups", "safe/here", "/mnt/safe", "~/safe", "s3://bucket/safe", "memory://x"]
)
def test_a_place_of_their_own_is_a_fine_target_of_backups(target: str) -> None:
    assert target == parse({"backup": {"target": target}}).backup.target


def test_nothing_given_is_all_defaults() -> None:
    assert Settings() == parse({})


def test_settings_as_text_and_back_are_the_same() -> None:
    settings = replace(Settings(), epochs=3, system_prompt="Be brief.", poll_interval=1)
    text = plain(settings)

    assert settings == parse(text)
    assert text == json.loads(json.dumps(text))
    assert {field.name for field in fields(Settings)} == text.keys()


def test_equal_settings_have_one_digest_however_their_numbers_were_written() -> None:
    written = [{"poll_interval": 1, "disk_floor_gb": 0}, {"disk_floor_gb": 0.0, "poll_interval": 1.0}]
    made = replace(Settings(), poll_interval=1, disk_floor_gb=0)

    assert 1 == len({digest(plain(settings)) for settings in (*map(parse, written), made)})
    assert digest(plain(Settings())) != digest(plain(made))
    assert digest(plain(Settings())) == digest(plain(parse(plain(Settings()))))


def test_changes_name_what_differs() -> None:
    assert {"b": [2, 3], "c": [None, 4], "a": [1, None]} == changes({"a": 1, "b": 2}, {"b": 3, "c": 4})
    assert {} == changes({"a": 1}, {"a": 1})


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"{", "not readable JSON"), (b"\xff\xfe", "not readable JSON"), (b"[1]", "must hold an object"),
     (b'{"learning_rate": NaN}', "NaN"), (b"[" * 100_000, "not readable JSON"), (b"", "not readable JSON")],
)  # fmt: skip
def test_a_file_that_is_no_config_is_told_with_its_place(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)

    with pytest.raises(ConfigInvalid, match=why):
        load(path)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="put it back"):
        load(tmp_path / "config.json")


def test_a_tracker_that_is_not_installed_is_refused_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, packages = tmp_path / "config.json", tmp_path / "packages"
    path.write_text('{"report_to": ["trackio", "mlflow"]}')
    (packages / "trackio").mkdir(parents=True)  # a folder is no package: W&B and others leave such behind
    (packages / "mlflow.py").touch()
    monkeypatch.syspath_prepend(packages)
    with pytest.raises(ConfigInvalid, match=r"report_to: .*: trackio; run `pip install trackio`"):
        load(path)
    (packages / "trackio" / "__init__.py").touch()
    importlib.invalidate_caches()

    assert ("trackio", "mlflow") == load(path).report_to
    assert ("wandb",) == parse({"report_to": ["wandb"]}).report_to  # of the log: it was there once
