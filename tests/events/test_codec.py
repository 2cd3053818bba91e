"""Facts as text and back: golden lines, numbers JSON cannot hold, old shapes, new ones."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from events.codec import TYPES, UnknownFact, decode, encode, stream_of
from events.types import (
    ConfigChanged,
    FilePlaced,
    PauseRequested,
    PhaseEntered,
    StepsCompleted,
    ValidationMeasured,
)
from tests.facts import specimen, specimens

GOLDEN = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "golden" / "facts.jsonl")
    .read_text(encoding="utf-8")
    .splitlines()
]


def test_every_fact_has_a_golden_line_for_each_version_it_ever_had() -> None:
    expected = {(name, version) for name, cls in TYPES.items() for version in range(1, cls.VERSION + 1)}

    assert expected == {(line["name"], line["version"]) for line in GOLDEN}


@pytest.mark.parametrize("line", GOLDEN, ids=lambda line: line["name"])
def test_a_golden_line_is_read_and_written_as_it_was(line: dict[str, Any]) -> None:
    fact = decode(line["name"], line["version"], line["data"])

    assert line["name"] == type(fact).__name__
    assert line["stream"] == stream_of(fact)
    if line["version"] == type(fact).VERSION:
        assert line["data"] == encode(fact)


def test_the_golden_lines_say_something_in_every_field() -> None:
    for line in GOLDEN:
        fields = set(TYPES[line["name"]].__struct_fields__)
        assert fields <= json.loads(line["data"]).keys()


@pytest.mark.parametrize("fact", specimens(), ids=lambda fact: type(fact).__name__)
def test_text_and_back_is_the_same_fact(fact: Any) -> None:
    text = encode(fact)

    back = decode(type(fact).__name__, type(fact).VERSION, text)

    assert repr(fact) == repr(back)
    assert text == encode(back)


def test_numbers_json_cannot_hold_are_null_and_named_beside() -> None:
    columns: dict[str, list[float | int | None]] = {"loss": [1.0, math.nan, None, math.inf, -math.inf]}
    text = encode(StepsCompleted(run="r", attempt=1, first_step=1, first_global_step=1, n=5, columns=columns))

    raw = json.loads(text)
    back = decode("StepsCompleted", 1, text)

    assert [1.0, None, None, None, None] == raw["columns"]["loss"]
    assert {"columns.loss.1": "nan", "columns.loss.3": "inf", "columns.loss.4": "-inf"} == raw["nonfinite"]
    assert isinstance(back, StepsCompleted)
    assert repr(columns) == repr(back.columns)


def test_a_lost_number_at_the_top_comes_back_too() -> None:
    fact = specimen(ValidationMeasured, loss=math.nan, train_loss=-math.inf)

    assert repr(fact) == repr(decode("ValidationMeasured", 1, encode(fact)))


def test_a_null_that_is_no_number_is_only_a_null() -> None:
    fact = specimen(ValidationMeasured, train_loss=None)

    assert "nonfinite" not in encode(fact)
    assert fact == decode("ValidationMeasured", 1, encode(fact))


def test_a_text_that_looks_like_the_note_is_only_a_text() -> None:
    fact = FilePlaced(sha256="a", path='queue/"nonfinite":{}.jsonl')

    assert fact == decode("FilePlaced", 1, encode(fact))


def test_a_newer_fact_is_named_with_what_to_do() -> None:
    with pytest.raises(UnknownFact, match=r"PauseRequested version 2.*Install the newer evertrain"):
        decode("PauseRequested", PauseRequested.VERSION + 1, "{}")
    with pytest.raises(UnknownFact, match="MoonLanded"):
        decode("MoonLanded", 1, "{}")


def test_fields_of_a_newer_minor_shape_are_skipped() -> None:
    assert PauseRequested() == decode("PauseRequested", 1, '{"since_then":"added"}')


def test_an_old_shape_is_lifted_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PhaseEntered, "VERSION", 3)
    steps = {
        ("PhaseEntered", 1): lambda data: {**data, "phase": data["stage"]},
        ("PhaseEntered", 2): lambda data: {**data, "phase": data["phase"].lower()},
    }

    first = decode("PhaseEntered", 1, '{"role":"trainer","pid":1,"stage":"LOAD"}', steps)
    second = decode("PhaseEntered", 2, '{"role":"trainer","pid":1,"phase":"LOAD"}', steps)
    third = decode("PhaseEntered", 3, '{"role":"trainer","pid":1,"phase":"LOAD"}', steps)

    assert PhaseEntered(role="trainer", pid=1, phase="load") == first == second
    assert PhaseEntered(role="trainer", pid=1, phase="LOAD") == third
    with pytest.raises(KeyError):
        decode("PhaseEntered", 1, "{}", {("PhaseEntered", 2): dict})


def test_a_stream_is_filled_from_the_fact_itself() -> None:
    assert "control" == stream_of(PauseRequested())
    assert "file/abc" == stream_of(FilePlaced(sha256="abc", path="p"))
    assert "workspace" == stream_of(specimen(ConfigChanged))


@pytest.mark.parametrize("cls", TYPES.values(), ids=TYPES)
def test_facts_are_frozen_and_use_their_own_streams_fields(cls: Any) -> None:
    fact = specimen(cls)

    assert "{" not in stream_of(fact)
    for name in cls.__struct_fields__:
        with pytest.raises(AttributeError, match="immutable"):
            setattr(fact, name, None)
