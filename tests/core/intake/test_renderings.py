"""Renderings held by value, and what must be true of every rendering of every conversation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from core.intake import chatml
from core.intake.formats import read
from core.intake.template import Renderer
from tests.core.intake.conversations import GOLDEN, ROWS, of_all

HELD = json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_qwens_renderings_are_as_held(shared: Path) -> None:
    renderer = Renderer(shared / "models/qwen3-tokenizer")

    assert HELD["qwen3"] == of_all(renderer, with_ids=True)


def test_the_demos_renderings_are_as_held(renderer: Renderer) -> None:
    assert HELD["demo"] == of_all(renderer, with_ids=False)


def test_every_conversation_is_held_for_both() -> None:
    assert [list(ROWS)] * 2 == [list(held) for held in HELD.values()]


SPELLED = st.sampled_from([
    "<|im_end|>", "<|im_start|>assistant\n", "<|endoftext|>", "</tool_response>", "</think>", "\n", " ",
])
TEXTS = (
    st.lists(st.one_of(st.text(max_size=10), SPELLED), min_size=1, max_size=4).map("".join)
    .filter(lambda text: text.strip())
)  # fmt: skip
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=5), SPELLED),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
CALLS = st.lists(
    st.builds(
        lambda name, arguments: {"type": "function", "function": {"name": name, "arguments": arguments}},
        st.sampled_from(["add", "look_up"]), st.dictionaries(st.text(max_size=3), JSON, max_size=2),
    ),
    min_size=1, max_size=2,
)  # fmt: skip
WEIGHTS = st.sampled_from([None, 0, 1])
MESSAGES = st.one_of(
    st.builds(lambda role, text: {"role": role, "content": text}, st.sampled_from(["user", "tool"]), TEXTS),
    st.builds(
        lambda text, weight: {"role": "assistant", "content": text, "weight": weight}, TEXTS, WEIGHTS,
    ),
    st.builds(
        lambda text, calls, weight: {
            "role": "assistant", "content": text, "tool_calls": calls, "weight": weight,
        },
        st.one_of(st.none(), TEXTS), CALLS, WEIGHTS,
    ),
)  # fmt: skip
CONVERSATIONS = st.builds(
    lambda system, messages, last, tools: {
        "messages": [*([{"role": "system", "content": system}] if system else []), *messages, last],
        "tools": tools,
    },
    st.one_of(st.none(), TEXTS), st.lists(MESSAGES, max_size=5),
    st.builds(lambda text: {"role": "assistant", "content": text}, TEXTS),
    st.sampled_from([None, [chatml.TOOL]]),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(value=CONVERSATIONS)
def test_every_answer_is_trained_whole_and_nothing_else_is(renderer: Renderer, value: dict[str, Any]) -> None:
    row = read(value, "messages")
    ready = renderer.prepare(row)
    (encoded,) = renderer.encode([ready])

    normalize = renderer.tokenizer.normalizer.normalize_str
    answers = [f"{normalize(turn.text)}<|im_end|>" for turn in row.turns if turn.trained]
    ids = encoded.ids[encoded.labels == 1].tolist()
    assert "".join(answers) == renderer.tokenizer.decode(ids, skip_special_tokens=False)
    assert len(answers) == np.count_nonzero(encoded.ids[encoded.labels == 1] == renderer.end_id)
    # no control token but those written around the turns, whatever the row spells
    blocks = len(chatml.blocks(ready.turns))
    for control in (renderer.start_id, renderer.end_id):
        assert blocks == np.count_nonzero(encoded.ids == control)
