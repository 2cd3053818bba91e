"""Chat templates that are not ChatML: the shapes that base models carry, over the demo's tokenizer."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer

from core.intake import chatml
from core.intake.formats import read
from core.intake.problems import BadRow
from core.intake.rows import Row, Turn
from core.intake.template import Encoded, Renderer
from core.intake.tokens import TokenStore
from core.intake.validate import examine
from core.settings import Settings

HEADERS = """\
{{- bos_token }}
{%- for m in messages %}
    {%- if m.tool_calls %}
        {{- '<|head|>assistant<|/head|>\\n\\n' ~ m.content }}
        {%- for call in m.tool_calls %}
            {%- set function = call.function %}
            {{- '{"name": "' ~ function.name ~ '", "parameters": ' ~ function.arguments | tojson ~ '}' }}
        {%- endfor %}
        {{- '<|eot|>' }}
    {%- elif m.role == 'tool' %}
        {{- '<|head|>ipython<|/head|>\\n\\n' ~ m.content | tojson ~ '<|eot|>' }}
    {%- else %}
        {{- '<|head|>' ~ m.role ~ '<|/head|>\\n\\n' ~ (m.content | trim) }}
        {%- if loop.first and tools %}{% for t in tools %}{{ '\\n' ~ t | tojson }}{% endfor %}{% endif %}
        {{- '<|eot|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|head|>assistant<|/head|>\\n\\n' }}{% endif %}
"""

# System folded into the question, an answer behind a space, roles in strict turn, no tools.
BRACKETS = """\
{%- if messages[0].role == 'system' %}
    {%- set system, rest = messages[0].content ~ '\\n\\n', messages[1:] %}
{%- else %}{%- set system, rest = '', messages %}{%- endif %}
{%- for m in rest %}
    {%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('not in turn') }}{% endif %}
    {%- if m.role == 'user' %}
        {{- bos_token ~ '[INST] ' ~ (system if loop.first else '') ~ m.content ~ ' [/INST]' }}
    {%- else %}
        {{- ' ' ~ m.content ~ eos_token }}
    {%- endif %}
{%- endfor %}
"""

# No system messages; an empty thought before the last answer; thoughts of earlier answers left out.
THINKING = """\
{%- for m in messages %}
    {%- if m.role == 'system' %}{{ raise_exception('no system messages') }}{% endif %}
    {%- if m.role == 'user' %}{{- '<|user|>' ~ m.content }}{%- else %}
        {%- set said = m.content.split('</think>')[-1] if not loop.last else m.content %}
        {{- '<|bot|>' ~ ('<think>\\n\\n</think>\\n\\n' if loop.last and '<think>' not in said else '') }}
        {{- said ~ '<|eot|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|bot|>' }}{% endif %}
"""

CONTROLS = ("<|bos|>", "<|head|>", "<|/head|>", "<|eot|>", "<|user|>", "<|bot|>")
Make = Callable[[str], Renderer]


@pytest.fixture(scope="module")
def make(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """The renderer of a base with these control tokens and a template."""
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in CONTROLS])
    made: dict[str, Renderer] = {}

    def renderer(template: str) -> Renderer:
        if template not in made:
            folder = tmp_path_factory.mktemp("foreign")
            tokenizer.save(str(folder / "tokenizer.json"))
            config = {"eos_token": {"content": "<|eot|>"}, "bos_token": "<|bos|>"}
            (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
            (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
            made[template] = Renderer(folder)
        return made[template]

    return renderer


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
