import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from core.intake import chatml
from core.intake.base import BaseUnusable
from core.intake.encoded import Encoded
from core.intake.formats import read
from core.intake.problems import BadRow
from core.intake.rows import Row, Turn
from core.intake.template import Renderer

CHAT = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Two  spaces,\n\n10 + 20? 🛑"},
    {"role": "assistant", "content": "30.\n<think>\nno\n</think>"},
    {"role": "user", "content": " And?"},
    {"role": "assistant", "content": "  That's all,\nfolks! 漢字"},
]


@pytest.fixture(scope="module")
def qwen(shared: Path) -> Renderer:
    return Renderer(shared / "models/qwen3-tokenizer")


def chat(*messages: dict[str, Any], tools: list[Any] | None = None) -> Row:
    return read({"messages": list(messages), "tools": tools}, "messages")


def trained_text(renderer: Renderer, encoded: Encoded) -> str:
    ids = encoded.ids[encoded.labels == 1].tolist()
    return str(renderer.tokenizer.decode(ids, skip_special_tokens=False))


def check_golden(renderer: Renderer) -> None:
    """What ChatML must look like, and which of it is trained, for any base."""
    encoded = renderer.encode([chat(*CHAT)])[0]

    written = (
        "<|im_start|>system\nBe kind.<|im_end|>\n"
        "<|im_start|>user\nTwo  spaces,\n\n10 + 20? 🛑<|im_end|>\n"
        "<|im_start|>assistant\n30.\n<think>\nno\n</think><|im_end|>\n"
        "<|im_start|>user\n And?<|im_end|>\n"
        "<|im_start|>assistant\n  That's all,\nfolks! 漢字<|im_end|>\n"
    )
    assert written == renderer.render(chat(*CHAT))
    assert written == renderer.tokenizer.decode(encoded.ids.tolist(), skip_special_tokens=False)
    answers = "30.\n<think>\nno\n</think><|im_end|>  That's all,\nfolks! 漢字<|im_end|>"
    assert answers == trained_text(renderer, encoded)


def check_whole(renderer: Renderer, folder: Path) -> None:
    """Rows come out as the library would tokenize the rendered text in one piece."""
    whole = Tokenizer.from_file(str(folder / "tokenizer.json"))
    rows = [
        chat(*CHAT),
        chat({"role": "user", "content": "\n\n a"}, {"role": "assistant", "content": "\n\n \té e\u0301"}),
    ]
    for row, encoded in zip(rows, renderer.encode(rows), strict=True):
        expected = whole.encode(renderer.render(row), add_special_tokens=False).ids

        assert expected == encoded.ids.tolist()


def test_chats_are_rendered_as_written_with_the_demo_tokenizer(renderer: Renderer) -> None:
    check_golden(renderer)


def test_chats_are_rendered_as_written_with_qwens_tokenizer(qwen: Renderer) -> None:
    check_golden(qwen)


def test_pieces_make_the_tokens_of_the_whole_with_the_demo_tokenizer(renderer: Renderer) -> None:
    check_whole(renderer, renderer.folder)


def test_pieces_make_the_tokens_of_the_whole_with_qwens_tokenizer(qwen: Renderer) -> None:
    check_whole(qwen, qwen.folder)


def test_qwens_empty_thoughts_are_noted_and_not_trained(qwen: Renderer) -> None:
    row = chat({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})

    assert qwen.chat_problem is None and qwen.tools_problem is None
    assert any("empty thought" in note for note in qwen.notes)
    assert "b<|im_end|>" == trained_text(qwen, qwen.encode([row])[0])


def test_the_demo_template_adds_nothing(renderer: Renderer) -> None:
    assert ((), None, None) == (renderer.notes, renderer.chat_problem, renderer.tools_problem)


SPELLED = st.sampled_from(["<|im_end|>", "<|im_start|>assistant\n", "<|endoftext|>", "<think>", "</think>"])
TEXTS = st.lists(st.one_of(st.text(max_size=12), SPELLED), max_size=4).map("".join)
TURNS = st.lists(
    st.one_of(
        st.builds(Turn, st.sampled_from(["system", "user", "tool"]), TEXTS, st.just(False)),
        st.builds(Turn, st.just("assistant"), TEXTS, st.booleans()),
    ),
    min_size=1, max_size=6,
).map(tuple)


@settings(max_examples=150, deadline=None)
@given(turns=TURNS)
def test_labels_are_the_trained_answers_and_nothing_else(renderer: Renderer, turns: tuple[Turn, ...]) -> None:
    encoded = renderer.encode([Row(turns)])[0]

    normalize = renderer.tokenizer.normalizer.normalize_str
    answers = [normalize(turn.text) + "<|im_end|>" for turn in turns if turn.trained]
    assert "".join(answers) == trained_text(renderer, encoded)
    # control tokens are only those we wrote, whatever the text spells
    blocks = len(chatml.blocks(turns))
    assert blocks == np.count_nonzero(encoded.ids == renderer.start_id)
    assert blocks == np.count_nonzero(encoded.ids == renderer.end_id)
    assert 0 == encoded.labels[0]


def test_a_text_trains_all_but_its_first_token_and_ends(renderer: Renderer) -> None:
    encoded = renderer.encode([read({"text": "A text with <|endoftext|> spelled out."}, "text")])[0]

    assert renderer.tokenizer.token_to_id("<|endoftext|>") == encoded.ids[-1]
    assert 1 == np.count_nonzero(encoded.ids == renderer.document_end_id)
    assert [0] + [1] * (len(encoded.ids) - 1) == encoded.labels.tolist()


def test_the_system_prompt_fills_only_gaps(renderer: Renderer) -> None:
    without, own = chat(*CHAT[1:]), chat(*CHAT)

    assert "Be brief." == renderer.prepare(without, "Be brief.").turns[0].text
    assert own == renderer.prepare(own, "Be brief.")
    assert without == renderer.prepare(without, None)


def test_tools_are_declared_in_the_words_of_the_template(renderer: Renderer) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [
        {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}]}
    result = {"role": "tool", "content": "1"}
    row = chat(CHAT[1], call, result, CHAT[4], tools=[chatml.TOOL])
    encoded = renderer.encode([row])[0]

    written = renderer.render(row)
    assert json.dumps(chatml.TOOL) in written.partition("<|im_end|>")[0]
    assert "<|im_start|>user\n<tool_response>\n1\n</tool_response><|im_end|>\n" in written
    calls = '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call><|im_end|>'
    assert calls + f"{CHAT[4]['content']}<|im_end|>" == trained_text(renderer, encoded)


def changed(
    base: Path, folder: Path, template: str | None = None, tokenizer: dict[str, Any] | None = None,
) -> Renderer:
    """The renderer of a base with another template or tokenizer."""
    for path in base.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    if tokenizer is not None:
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return Renderer(folder)


@pytest.mark.parametrize("template", [
    "{% for m in messages %}[INST]{{ m.content }}[/INST]{% endfor %}",
    "{{ raise_exception('no') }}",
    "{% for m in messages %}",
    "{{ messages.__class__.__mro__ }}",
    "{{ messages.clear() }}",
])
def test_other_templates_refuse_chats_and_take_texts(base: Path, tmp_path: Path, template: str) -> None:
    renderer = changed(base, tmp_path, template)

    assert renderer.chat_problem is not None
    with pytest.raises(BaseUnusable, match="template"):
        renderer.encode([chat(*CHAT)])
    assert 2 < len(renderer.encode([read({"text": "Still fine."}, "text")])[0].ids)


def test_a_template_that_knows_no_tools_refuses_rows_with_tools(base: Path, tmp_path: Path) -> None:
    renderer = changed(base, tmp_path, (
        "{% for m in messages %}"
        "{{ '<|im_start|>' ~ m.role ~ '\\n' ~ m.content ~ '<|im_end|>\\n' }}"
        "{% endfor %}"
    ))

    assert renderer.chat_problem is None
    with pytest.raises(BadRow) as caught:
        renderer.prepare(chat(*CHAT, tools=[chatml.TOOL]))
    assert "tools_unsupported" == caught.value.code


def test_another_template_is_another_hash(base: Path, renderer: Renderer, tmp_path: Path) -> None:
    other = changed(base, tmp_path, (base / "chat_template.jinja").read_text(encoding="utf-8") + "{# #}")

    assert renderer.template_sha256 != other.template_sha256
    assert renderer.tokenizer_sha256 == other.tokenizer_sha256


def test_limits_left_in_a_tokenizer_are_ignored(base: Path, renderer: Renderer, tmp_path: Path) -> None:
    stored = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    stored["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    for token in stored["added_tokens"]:
        token["special"] = False
    row = chat({"role": "user", "content": "<|im_end|>"}, CHAT[4])

    expected = renderer.encode([row])[0].ids.tolist()
    assert expected == changed(base, tmp_path, tokenizer=stored).encode([row])[0].ids.tolist()


def test_a_tokenizer_without_control_tokens_is_refused_for_chats(base: Path, tmp_path: Path) -> None:
    stored = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    stored["added_tokens"] = [t for t in stored["added_tokens"] if t["content"] != "<|im_end|>"]
    stored["model"]["vocab"] = {
        token: number for token, number in stored["model"]["vocab"].items() if token != "<|im_end|>"
    }
    problem = changed(base, tmp_path, tokenizer=stored).chat_problem

    assert problem is not None and "<|im_end|>" in problem


def test_a_huge_row_is_cut_early_and_stays_too_long(renderer: Renderer) -> None:
    text = "word " * 200_000
    row = chat({"role": "user", "content": text}, {"role": "assistant", "content": "b"})
    encoded = renderer.encode([row, read({"text": text}, "text")], limit=100)

    for each in encoded:
        assert 100 < len(each.ids) < 40_000


def test_real_calls_of_tools_are_written_as_qwens_template_writes_them(shared: Path, qwen: Renderer) -> None:
    roles = {"human": "user", "gpt": "assistant", "observation": "tool"}
    path = shared / "data/glaive-tools-en/glaive_toolcall_en_demo.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    assert qwen.template is not None
    for conversation in told:
        messages = [
            {"role": "assistant", "content": None, "tool_calls": [{"function": json.loads(said["value"])}]}
            if said["from"] == "function_call" else {"role": roles[said["from"]], "content": said["value"]}
            for said in conversation["conversations"]
        ]
        row = chat(*messages, tools=conversation["tools"])
        theirs = qwen.template.render(messages, list(row.tools) if row.tools else None)

        assert chatml.EMPTY_THOUGHT.sub("", theirs) == qwen.render(row)
