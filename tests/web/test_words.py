"""The words: numbers a person can read, and text that cannot deceive."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web import words


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "–"), (0.0, "0.000"), (3.14159, "3.142"), (12.3456, "12.35"), (0.012346, "0.01235"),
        (1e-7, "1.000e-07"), (123456.0, "1.235e+05"), (float("nan"), "nan"), (9999.4, "9,999"),
    ],
)  # fmt: skip
def test_a_figure_has_four_digits(value: float | None, said: str) -> None:
    assert said == words.figure(value)


@pytest.mark.parametrize(
    ("value", "said"), [(None, "–"), (0, "0 B"), (999, "999 B"), (1024, "1 KiB"), (12_000_000, "11.4 MiB")]
)
def test_sizes_are_binary(value: int | None, said: str) -> None:
    assert said == words.size(value)


@pytest.mark.parametrize(
    ("value", "said"),
    [(None, "–"), (3, "under a minute"), (90, "2 min"), (7200, "2.0 h"), (200_000, "2.3 days")],
)
def test_durations_are_rough(value: float | None, said: str) -> None:
    assert said == words.duration(value)


@pytest.mark.parametrize(("value", "said"), [(2e-4, "2e-4"), (1.25e-5, "1.25e-5"), (0.0, "0"), (None, "–")])
def test_a_rate_is_short(value: float | None, said: str) -> None:
    assert said == words.rate(value)


@given(st.text())
def test_visible_text_holds_nothing_hidden(text: str) -> None:
    shown = words.visible(text)

    assert not [c for c in shown if unicodedata.category(c) in words.HIDDEN]


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"])))
def test_plain_text_stays_as_it_is(text: str) -> None:
    assert text == words.visible(text)


def test_markup_in_a_payload_stays_text() -> None:
    assert "&lt;script&gt;" in words.pretty({"a": "<script>\u202e"})
    assert "\u202e" not in words.pretty({"a": "<script>\u202e"})
