"""Texts as tokens: as the tokenizer alone would write them, though ASCII is not normalized first."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, normalizers

from core.intake.encoded import NORMAL_FORMS, encode_all, for_ascii

OTHERS = (
    None,
    normalizers.Lowercase(),
    normalizers.Prepend("_"),
    normalizers.Sequence([normalizers.NFC(), normalizers.Strip()]),
)
WORDS = st.sampled_from(["<think>", "<|im_start|>", " the", "\n\n", "42", "caf\u00e9", "e\u0301"])
TEXTS = st.lists(
    st.one_of(
        st.text(max_size=40),
        st.text(st.characters(max_codepoint=127), max_size=40),
        st.lists(WORDS).map("".join),
    )
)


@pytest.fixture(scope="module")
def tokenizers(base: Path) -> list[tuple[Tokenizer, Tokenizer | None]]:
    """Each with the one for ASCII, where there is one."""
    made = []
    for normalizer in (*(form() for form in NORMAL_FORMS), *OTHERS):
        tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
        tokenizer.normalizer = normalizer
        tokenizer.encode_special_tokens = normalizer is not None
        made.append((tokenizer, for_ascii(tokenizer)))
    return made


@given(TEXTS)
def test_every_text_has_the_tokens_it_has_by_itself(
    tokenizers: list[tuple[Tokenizer, Tokenizer | None]], texts: list[str]
) -> None:
    for tokenizer, plain in tokenizers:
        alone = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]

        assert alone == [encoding.ids for encoding in encode_all(tokenizer, plain, texts)]


def test_only_a_normal_form_is_left_out(tokenizers: list[tuple[Tokenizer, Tokenizer | None]]) -> None:
    without = [plain is not None and plain.normalizer is None for _, plain in tokenizers]

    assert [True] * len(NORMAL_FORMS) + [False] * len(OTHERS) == without
    for tokenizer, _ in tokenizers[: len(NORMAL_FORMS)]:
        assert isinstance(tokenizer.normalizer, NORMAL_FORMS)
