"""A row as tokens, and where in its text a token stands."""

from itertools import compress

import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer, normalizers

from core.intake.rows import Turn, is_composed

NORMAL_FORMS = (normalizers.NFC, normalizers.NFD, normalizers.NFKC, normalizers.NFKD)
ENOUGH = 1 << 17  # characters; so many are tokenized in any case, for the length that the report tells


class Encoded(Struct, frozen=True):
    """One row: `ids` uint32[n] and `labels` uint8[n]; 1 marks a token learned from the one before it."""

    ids: NDArray[np.uint32]
    labels: NDArray[np.uint8]


def for_ascii(tokenizer: Tokenizer) -> Tokenizer | None:
    """The same tokenizer for ASCII alone: by the same model, without bringing texts into their normal form.

    ASCII stands in every normal form of Unicode already, and to bring it there takes a tenth of the time.
    None where the tokenizer does more to texts than that, or its added tokens would get other numbers.
    """
    if not isinstance(tokenizer.normalizer, NORMAL_FORMS):
        return None
    plain = Tokenizer(tokenizer.model)
    if tokenizer.pre_tokenizer is not None:
        plain.pre_tokenizer = tokenizer.pre_tokenizer
    plain.encode_special_tokens = tokenizer.encode_special_tokens
    added = tokenizer.get_added_tokens_decoder()
    for number in sorted(added):                # one by one: so they get their numbers
        add = plain.add_special_tokens if added[number].special else plain.add_tokens
        add([added[number]])
    return plain if plain.get_added_tokens_decoder() == added else None


def encode_all(tokenizer: Tokenizer, plain: Tokenizer | None, texts: list[str]) -> list[Encoding]:
    """The tokens of each text, without offsets, which are wanted seldom and cost a tenth of the time.

    `plain`: what `for_ascii` gave for this tokenizer.
    """
    is_plain = [plain is not None and text.isascii() for text in texts]
    if plain is None or not any(is_plain):
        return _encode(tokenizer, texts)
    ascii_ones = iter(_encode(plain, list(compress(texts, is_plain))))
    others = iter(_encode(tokenizer, [text for text in texts if not text.isascii()]))
    return [next(ascii_ones if each else others) for each in is_plain]


def _encode(tokenizer: Tokenizer, texts: list[str]) -> list[Encoding]:
    encodings: list[Encoding] = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    return encodings


def first_token_from(encoding: Encoding, begin: int, end: int) -> int:
    """The first token with no character before `begin` (a token may span the border; it is not ours)."""
    for position in range(begin, end):
        token = encoding.char_to_token(position)
        if token is not None:
            span = encoding.token_to_chars(token)
            return int(token) + (span is not None and span[0] < begin)
    return len(encoding)


def cut(pieces: list[tuple[str, Turn]], room: int | None) -> list[tuple[str, Turn]]:
    """The pieces up to `room` characters in all (None: any number), of which four may be one composed.

    Where they are composed already a quarter is as much, and a large room costs a hundred bytes a token.
    """
    if room is None or sum(len(text) for text, _ in pieces) <= min(room, ENOUGH):
        return pieces
    kept = _first(pieces, room)
    if all(is_composed(text) for text, _ in kept):
        kept = _first(kept, max(room // 4, min(room, ENOUGH)))
    return kept


def shortened(turns: tuple[Turn, ...], room: int | None) -> tuple[Turn, ...]:
    """The turns with no text over `room`: what is cut off later need not be written first."""
    if room is None or all(len(turn.text) <= room for turn in turns):
        return turns
    return tuple(replace(turn, text=turn.text[:room]) for turn in turns)


def _first(pieces: list[tuple[str, Turn]], room: int) -> list[tuple[str, Turn]]:
    kept = []
    for text, turn in pieces:
        kept.append((text[:room], turn))
        room -= len(text)
        if room <= 0:
            break
    return kept
