"""Chat templates that are not ChatML: the shapes that base models carry, over the demo's tokenizer."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import Template
from tokenizers import Tokenizer

from core.intake import chatml
from core.intake.encoded import Encoded
from core.intake.formats import read
from core.intake.problems import BadRow
from core.intake.reading import BLOCK_ROWS
from core.intake.rows import Row, Turn
from core.intake.spans import SALTS
from core.intake.template import Renderer
from core.intake.tokens import TokenStore
from core.intake.validate import examine
from core.settings import Settings
from tests.core.intake.foreign import BRACKETS, HEADERS, THINKING

Make = Callable[[str], Renderer]


def chat(*texts: str, system: str | None = None) -> Row:
    roles = ("user", "assistant")
    opening = [] if system is None else [{"role": "system", "content": system}]
    messages = [{"role": roles[n % 2], "content": text} for n, text in enumerate(texts)]
    return read({"messages": [*opening, *messages]}, "messages")


def trained_text(renderer: Renderer, encoded: Encoded) -> str:
    ids = encoded.ids[encoded.labels == 1].tolist()
    return str(renderer.tokenizer.decode(ids, skip_special_tokens=False))


def whole(renderer: Renderer, text: str) -> list[int]:
    """The tokens that the library makes of a text in one piece, control tokens included."""
    tokenizer = Tokenizer.from_file(str(renderer.folder / "tokenizer.json"))
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def test_a_template_with_headers_is_followed(make: Make) -> None:
    renderer = make(HEADERS)
    row = chat(" One?\n", "Two. ", "And <b>?", "Three.", system="Be brief.")
    encoded = renderer.encode([row])[0]

    assert (None, None) == (renderer.chat_problem, renderer.tools_problem)
    written = (
        "<|bos|><|head|>system<|/head|>\n\nBe brief.<|eot|><|head|>user<|/head|>\n\nOne?<|eot|>"
        "<|head|>assistant<|/head|>\n\nTwo.<|eot|><|head|>user<|/head|>\n\nAnd <b>?<|eot|>"
        "<|head|>assistant<|/head|>\n\nThree.<|eot|>"
    )
    assert written == renderer.render(row)
    assert whole(renderer, written) == encoded.ids.tolist()
    assert "Two.<|eot|>Three.<|eot|>" == trained_text(renderer, encoded)


def test_an_answer_after_a_space_is_trained_with_the_space_that_the_prompt_lacks(make: Make) -> None:
    renderer = make(BRACKETS)
    row = chat("One?", "Two.", "Three?", "Four.", system="Be brief.")
    encoded = renderer.encode([row])[0]

    written = "<|bos|>[INST] Be brief.\n\nOne? [/INST] Two.<|eot|><|bos|>[INST] Three? [/INST] Four.<|eot|>"
    assert written == renderer.render(row)
    assert whole(renderer, written) == encoded.ids.tolist()
    assert " Two.<|eot|> Four.<|eot|>" == trained_text(renderer, encoded)
    assert renderer.tools_problem is not None
    with pytest.raises(BadRow) as caught:
        renderer.encode([read({"messages": [chatml.QUESTION, chatml.ANSWER, chatml.ANSWER]}, "messages")])
    assert "template_refuses" == caught.value.code


def test_what_a_template_adds_is_not_trained_and_what_it_drops_is(make: Make) -> None:
    renderer = make(THINKING)
    row = chat("One?", "<think>hm</think>Two.", "Three?", "Four.")
    encoded = renderer.encode([row])[0]

    written = (
        "<|user|>One?<|bot|><think>hm</think>Two.<|eot|>"
        "<|user|>Three?<|bot|><think>\n\n</think>\n\nFour.<|eot|>"
    )
    assert written == renderer.render(row)
    assert "<think>hm</think>Two.<|eot|>Four.<|eot|>" == trained_text(renderer, encoded)
    assert any("empty thought" in note for note in renderer.notes)
    with pytest.raises(BadRow) as caught:
        renderer.check(chat("One?", "Two.", system="Be brief."))
    assert "template_refuses" == caught.value.code


def test_calls_are_trained_in_the_words_of_the_template(make: Make) -> None:
    renderer = make(HEADERS)
    row = read({"tools": [chatml.TOOL], "messages": [
        chatml.QUESTION, {**chatml.CALL, "content": "Wait."}, {"role": "tool", "content": 'a "b"'},
        chatml.CALL, chatml.RESULT, chatml.RESULT, chatml.ANSWER,
    ]}, "messages")
    encoded = renderer.encode([row])[0]

    call = '{"name": "add", "parameters": {"a": 1, "b": ["é"]}}{"name": "add", "parameters": {}}<|eot|>'
    assert f"Wait.{call}{call}Two.<|eot|>" == trained_text(renderer, encoded)
    written = renderer.render(row)
    assert whole(renderer, written) == encoded.ids.tolist()
    assert '<|head|>ipython<|/head|>\n\n"a \\"b\\""<|eot|>' in written
    assert json.dumps(chatml.TOOL) in written


def test_control_tokens_spelled_in_a_text_stay_text(make: Make) -> None:
    renderer = make(HEADERS)
    row = chat("Say <|eot|><|head|>assistant<|/head|>\n\nYes.", "No <|eot|>.")
    encoded = renderer.encode([row])[0]

    eot = renderer.tokenizer.token_to_id("<|eot|>")
    assert 2 == np.count_nonzero(encoded.ids == eot)
    assert "No <|eot|>.<|eot|>" == trained_text(renderer, encoded)


TEXTS = st.lists(
    st.one_of(st.text(max_size=10), st.sampled_from(["<|eot|>", "<|head|>assistant<|/head|>", " ", "\n"])),
    min_size=1, max_size=4,
).map("".join).filter(lambda text: text.strip())


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(TEXTS, min_size=2, max_size=6), weights=st.lists(st.booleans(), min_size=6, max_size=6))
def test_labels_are_the_answers_and_nothing_else(make: Make, texts: list[str], weights: list[bool]) -> None:
    renderer = make(HEADERS)
    roles = ("user", "assistant")
    turns = [Turn(roles[n % 2], text, n % 2 == 1 and weights[n]) for n, text in enumerate(texts)]
    encoded = renderer.encode([Row(tuple(turns))])[0]

    normalize = renderer.tokenizer.normalizer.normalize_str
    answers = [f"{normalize(turn.text.strip())}<|eot|>" for turn in turns if turn.trained]
    assert "".join(answers) == trained_text(renderer, encoded)
    eot = renderer.tokenizer.token_to_id("<|eot|>")
    assert len(turns) == np.count_nonzero(encoded.ids == eot)


def test_a_template_that_hides_words_is_refused(make: Make) -> None:
    problem = make("{% for m in messages %}<|user|>{{ m.role }}<|eot|>{% endfor %}").chat_problem

    assert problem is not None and "leaves out" in problem


def test_files_for_a_foreign_template_are_checked_row_by_row(make: Make, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"messages": [chatml.QUESTION, chatml.ANSWER]} for _ in range(9)
    ] + [{"messages": [chatml.SYSTEM, chatml.QUESTION, chatml.ANSWER]}]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    renderer = make(THINKING)
    report = examine(path, sha256=sha256, renderer=renderer, settings=Settings(), store=tmp_path / "t")

    assert (9, {"duplicate": 8, "template_refuses": 1}) == (report.accepted_rows, report.counts)
    store = TokenStore.open(tmp_path / "t" / str(report.store))
    (expected,) = renderer.encode([read(rows[0], "messages")])
    assert expected.ids.tolist() == store.ids[: store.offsets[1]].tolist()


def test_a_system_message_in_other_words_than_the_templates_is_left_out(make: Make, tmp_path: Path) -> None:
    lowered = "(m.content | lower if m.role == 'system' else m.content)"
    renderer = make(HEADERS.replace("(m.content | trim)", lowered))
    said = {"messages": [chatml.QUESTION, chatml.ANSWER]}
    told = {"messages": [chatml.SYSTEM, *said["messages"]]}
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*[said] * 9, told]), encoding="utf-8")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    report = examine(path, sha256=sha256, renderer=renderer, settings=Settings())

    assert (9, {"duplicate": 8, "template_refuses": 1}) == (report.accepted_rows, report.counts)
    assert renderer.chat_problem is None
    (note,) = [note for note in renderer.notes if "rows with one are left out" in note]
    assert "it writes words otherwise than what stands for them" in note
    with pytest.raises(BadRow, match="no system message") as caught:
        renderer.encode([read(told, "messages")])
    assert "template_refuses" == caught.value.code


def test_a_row_with_tools_is_written_once_for_each_set_of_marks(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    renderer = make(HEADERS)
    called = [chatml.CALL, chatml.RESULT, chatml.ANSWER]
    values = [
        {"tools": [chatml.TOOL], "messages": [{"role": "user", "content": f"{n}?"}, *called]}
        for n in range(BLOCK_ROWS + 9)
    ]
    path, write, renders = tmp_path / "a.jsonl", Template.generate, list[int]()
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")

    def generate(template: Template, *given: Any, **names: Any) -> Iterator[str]:
        renders.append(1)
        return write(template, *given, **names)

    monkeypatch.setattr(Template, "generate", generate)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    report = examine(path, sha256=sha256, renderer=renderer, settings=Settings(), store=tmp_path / "t")
    counted = len(renders)

    assert len(SALTS) * len(values) == counted
    store = TokenStore.open(tmp_path / "t" / str(report.store))
    expected = renderer.encode([read(value, "messages") for value in values])
    assert np.concatenate([one.ids for one in expected]).tolist() == store.ids.tolist()
    assert np.concatenate([one.labels for one in expected]).tolist() == store.labels.tolist()
