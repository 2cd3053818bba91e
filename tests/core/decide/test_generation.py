"""What a version tells whoever generates with it."""

from core.decide.generation import card, config, stop_strings
from core.settings import StopSequences

STOP = StopSequences(("🛑", "⏹️"), 2, 4)


def test_stop_strings_are_every_text_in_every_count_longest_first() -> None:
    strings = stop_strings(STOP)

    assert {text * count for text in STOP.pool for count in (2, 3, 4)} == set(strings)
    assert 6 == len(strings)
    assert sorted(map(len, strings), reverse=True) == list(map(len, strings))


def test_nothing_is_added_where_nothing_was_asked_for() -> None:
    before = {"eos_token_id": [1]}

    assert before == config(before, [], None)


def test_the_bias_is_negative_and_what_was_there_stays() -> None:
    before = {"eos_token_id": [1], "sequence_bias": [[[3], -1.0], [[7], 2.0]]}
    after = config(before, [((7,), 5.0), ((8, 9), 4.0), ((8, 9), 1.0)], STOP)

    assert [[[3], -1.0], [[7], -5.0], [[8, 9], -5.0]] == after["sequence_bias"]
    assert stop_strings(STOP) == after["stop_sequences"]["strings"]
    assert [1] == after["eos_token_id"]


def test_the_card_lists_the_strings_and_says_to_wait() -> None:
    text = card(STOP)

    assert "wait for the first other token" in " ".join(text.split())
    assert all(f"`{string}`" in text for string in stop_strings(STOP))
