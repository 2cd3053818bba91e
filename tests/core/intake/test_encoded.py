"""Texts as tokens: as the tokenizer alone would write them, though ASCII is not normalized first."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers

from core.intake.encoded import NORMAL_FORMS, encode_all
from core.intake.template import Renderer

OTHERS = (
    None,
    normalizers.Lowercase(),
    normalizers.Prepend("_"),
    normalizers.Sequence([normalizers.NFC(), normalizers.Strip()]),
)
TEXTS = st.lists(st.one_of(st.text(max_size=40), st.text(st.characters(max_codepoint=127), max_size=40)))


@pytest.fixture(scope="module")
def tokenizers(base: Path) -> list[Tokenizer]:
    made = []
    for normalizer in (*(form() for form in NORMAL_FORMS), *OTHERS):
        tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
        tokenizer.normalizer = normalizer
        made.append(tokenizer)
    return made


@given(TEXTS)
def test_every_text_has_the_tokens_it_has_by_itself(tokenizers: list[Tokenizer], texts: list[str]) -> None:
    for tokenizer in tokenizers:
        alone = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]

        assert alone == [encoding.ids for encoding in encode_all(tokenizer, texts)]


def test_the_normal_form_is_back_in_force_whatever_happens(base: Path) -> None:
    tokenizer = Renderer(base).tokenizer
    before = str(tokenizer.normalizer)
    with pytest.raises(TypeError):
        encode_all(tokenizer, ["plain", b"bytes"])

    assert before == str(tokenizer.normalizer)
    assert isinstance(tokenizer.normalizer, NORMAL_FORMS)
