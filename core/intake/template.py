"""The renderer: turns become token ids and labels, with a base model's own tokenizer and without torch.

Chats are ChatML by construction, so spans are known while writing and never searched for.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Encoding, Tokenizer

from core.intake import chatml
from core.intake.chatml import END, START
from core.intake.formats import Json, Row, Turn
from core.intake.problems import BadRow

END_OF_TEXT = "<|endoftext|>"


class BaseUnusable(ValueError):
    """A base model's tokenizer or template cannot be used; says what, where and what to do."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row: `ids` uint32[n] and `labels` uint8[n]; 1 marks a token learned from the one before it."""

    ids: NDArray[np.uint32]
    labels: NDArray[np.uint8]


class Renderer:
    """The tokenizer and template of a base model's folder.

    `notes` tells what was found about the template. `chat_problem` and `tools_problem` say, where not None,
    why chats, or rows with tools, cannot be rendered for this base; plain text always can.
    `longest_token` (characters): BPE makes at least n / 4 / longest tokens of n characters, NFC included.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / "tokenizer.json"
        try:
            raw = path.read_bytes()
            self.tokenizer = Tokenizer.from_buffer(raw)
        except FileNotFoundError:
            raise BaseUnusable(f"{path} is missing: give a model folder with a fast tokenizer") from None
        except Exception as error:              # the library raises bare Exception for what it cannot read
            raise BaseUnusable(f"{path} cannot be read ({error}): copy the base model again") from None
        self.folder = folder
        self.tokenizer_sha256 = hashlib.sha256(raw).hexdigest()
        # A saved tokenizer may carry a length limit and padding of whoever used it last.
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        config = _config(folder)
        source = _template_source(folder, config)
        self.template_sha256 = hashlib.sha256((source or "ChatML").encode()).hexdigest()
        self.template, compile_problem = _compile(source, config)
        finding = chatml.inspect(self.template)
        self.notes = finding.notes
        self.chat_problem = compile_problem or self._control_problem() or finding.chat_problem
        self.tools_problem = self.chat_problem or finding.tools_problem
        # Control tokens spelled out in a row stay text; only what we write ourselves is a control token.
        self.tokenizer.encode_special_tokens = True
        self.longest_token = max(map(len, self.tokenizer.get_vocab()))
        self.start_id, self.end_id = self.tokenizer.token_to_id(START), self.tokenizer.token_to_id(END)
        self.document_end_id = self._document_end(config)
        self._newline: list[int] = self._encode(["\n"])[0].ids

    @property
    def vocabulary_size(self) -> int:
        return int(self.tokenizer.get_vocab_size())

    def pieces(self, text: str) -> tuple[int, ...]:
        """The tokens of a text by itself; the name of an added token, such as <think>, is that token."""
        added = {token.content: number for number, token in self.tokenizer.get_added_tokens_decoder().items()}
        return (added[text],) if text in added else tuple(self._encode([text])[0].ids)

    def has_ordinary_start(self, text: str) -> bool:
        """Does the text begin with a token that other texts begin with as well?"""
        return self.pieces(text)[0] not in self.tokenizer.get_added_tokens_decoder()

    def render(self, row: Row) -> str:
        """The row as text, as it is trained. Raises as `prepare`."""
        return chatml.write(self.prepare(row).turns) if row.is_chat else row.turns[0].text

    def prepare(self, row: Row, system_prompt: str | None = None) -> Row:
        """The row with `system_prompt` where a chat has none, and its tools written into its system turn.

        Raises `BadRow` where the base's template cannot declare the tools.
        """
        if system_prompt and row.is_chat and all(turn.role != "system" for turn in row.turns):
            row = Row((Turn("system", system_prompt, trained=False), *row.turns), row.tools)
        if not row.tools:
            return row
        if self.template is None or self.tools_problem:
            raise BadRow("tools_unsupported", self.tools_problem or "the base model has no chat template")
        try:
            return chatml.declare(row, row.tools, self.template)
        except Exception as error:              # the template's own code, run over whatever the row says
            what = f"the chat template cannot declare the tools ({type(error).__name__})"
            raise BadRow("bad_tool", what) from None

    def encode(self, rows: Sequence[Row], limit: int | None = None) -> list[Encoded]:
        """Tokens and labels of each row.

        A chat's labels are the tokens of trained assistant turns and their end-of-turn token; a text's are
        all tokens but the first, and a final <|endoftext|> (or the base's eos where it has no such token).
        With `limit`, a row sure to have more tokens than that may come out cut, still longer than `limit`.
        Raises `BaseUnusable` for a chat where `chat_problem` is not None, else as `prepare`.
        """
        room = None if limit is None else (limit + 2) * 4 * self.longest_token
        pieces: list[list[tuple[str, Turn]]] = []
        for row in rows:
            if row.is_chat and self.chat_problem:
                raise BaseUnusable(self.chat_problem)
            if row.is_chat:
                pieces.append(_cut(chatml.blocks(self.prepare(row).turns), room))
            else:
                pieces.append(_cut([(row.turns[0].text, row.turns[0])], room))
        encodings = iter(self._encode([text for row_pieces in pieces for text, _ in row_pieces]))
        return [
            self._chat(row_pieces, encodings) if row.is_chat else self._text(next(encodings))
            for row, row_pieces in zip(rows, pieces, strict=True)
        ]

    def _encode(self, texts: list[str]) -> list[Encoding]:
        encodings: list[Encoding] = self.tokenizer.encode_batch(texts, add_special_tokens=False)
        return encodings

    def _chat(self, pieces: list[tuple[str, Turn]], encodings: Any) -> Encoded:
        ids: list[Any] = []
        spans: list[tuple[int, int]] = []
        for text, turn in pieces:
            encoding = next(encodings)
            ids.append(self.start_id)
            if turn.trained:
                first = _first_token_from(encoding, len("assistant\n"), len(text))
                spans.append((len(ids) + first, len(ids) + len(encoding) + 1))
            ids += encoding.ids
            ids.append(self.end_id)
            ids += self._newline
        labels = np.zeros(len(ids), np.uint8)
        for begin, end in spans:
            labels[begin:end] = 1
        return Encoded(np.array(ids, np.uint32), labels)

    def _text(self, encoding: Encoding) -> Encoded:
        ids = np.array([*encoding.ids, self.document_end_id], np.uint32)
        labels = np.ones(len(ids), np.uint8)
        labels[0] = 0                           # nothing stands before it to learn it from
        return Encoded(ids, labels)

    def _control_problem(self) -> str | None:
        where = self.folder / "tokenizer.json"
        missing = [token for token in (START, END) if self.tokenizer.token_to_id(token) is None]
        if missing:
            return f"{where} has no {' and no '.join(missing)}: chats need a base model that speaks ChatML"
        # Some conversions forget to mark them as special; then a row could spell them out and be obeyed.
        tokens = [AddedToken(token, normalized=False, special=True) for token in (START, END)]
        self.tokenizer.add_special_tokens(tokens)
        for token in (START, END):
            found = self.tokenizer.encode(token, add_special_tokens=False).ids
            if found != [self.tokenizer.token_to_id(token)]:
                return f"{where} splits {token} into pieces: chats need a base model that speaks ChatML"
        return None

    def _document_end(self, config: Json) -> int:
        named = config.get("eos_token")
        eos = named.get("content") if isinstance(named, dict) else named
        for token in (END_OF_TEXT, eos):
            if isinstance(token, str) and (found := self.tokenizer.token_to_id(token)) is not None:
                return int(found)
        where = self.folder / "tokenizer_config.json"
        raise BaseUnusable(f"{where} names no end-of-sequence token: add eos_token")


def _first_token_from(encoding: Encoding, begin: int, end: int) -> int:
    """The first token with no character before `begin` (a token may span the border; it is not ours)."""
    for position in range(begin, end):
        token = encoding.char_to_token(position)
        if token is not None:
            span = encoding.token_to_chars(token)
            return int(token) + (span is not None and span[0] < begin)
    return len(encoding)


def _cut(pieces: list[tuple[str, Turn]], room: int | None) -> list[tuple[str, Turn]]:
    if room is None or sum(len(text) for text, _ in pieces) <= room:
        return pieces
    kept = []
    for text, turn in pieces:
        kept.append((text[:room], turn))
        room -= len(text)
        if room <= 0:
            break
    return kept


def _config(folder: Path) -> Json:
    path = folder / "tokenizer_config.json"
    if not path.exists():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BaseUnusable(f"{path} is not JSON ({error}): copy the base model again") from None
    return config if isinstance(config, dict) else {}


def _template_source(folder: Path, config: Json) -> str | None:
    path = folder / "chat_template.jinja"
    if path.exists():
        return path.read_text(encoding="utf-8")
    source = config.get("chat_template")
    if isinstance(source, list):                # several, by name
        source = next((named.get("template") for named in source if named.get("name") == "default"), None)
    return source if isinstance(source, str) else None


def _compile(source: str | None, config: Json) -> tuple[chatml.ChatTemplate | None, str | None]:
    if source is None:
        return None, None
    tokens = {key: config[key] for key in ("bos_token", "eos_token") if isinstance(config.get(key), str)}
    try:
        return chatml.ChatTemplate(source, tokens), None
    except Exception as error:                  # whatever Jinja says of it is shown to the user
        return None, f"its chat template cannot be compiled ({error}): repair chat_template.jinja"
