"""The renderer: turns become token ids and labels, with a base model's own tokenizer and without torch.

Spans are known while writing and never searched for: ChatML is written directly where the base's template
writes it too, any other template is asked with marks in place of words.
"""

import hashlib
import re
from array import array
from collections.abc import Sequence
from itertools import repeat
from os.path import commonprefix
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Encoding, Tokenizer

from core.intake import chatml
from core.intake.base import BaseUnusable, compiled, load_config, load_tokenizer, template_source
from core.intake.chatml import END, START
from core.intake.encoded import Encoded, cut, encode_all, first_token_from, for_ascii, shortened
from core.intake.problems import MACHINE_FAULTS, BadRow
from core.intake.rows import Json, Row, Turn
from core.intake.spans import OwnTemplate, Written

END_OF_TEXT = "<|endoftext|>"


class Renderer:
    """The tokenizer and template of a base model's folder.

    `notes` tells what was found about the template. `chat_problem` and `tools_problem` say, where not None,
    why chats, or rows with tools, cannot be rendered for this base; plain text always can.
    `longest_token` (characters): BPE makes at least n / 4 / longest tokens of n characters, NFC included.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        raw, self.tokenizer = load_tokenizer(folder)
        self.tokenizer_sha256 = hashlib.sha256(raw).hexdigest()
        config = load_config(folder)
        source = template_source(folder, config)
        self.template_sha256 = hashlib.sha256((source or "ChatML").encode()).hexdigest()
        self.template, problem = compiled(source, config)
        self.longest_token = max(map(len, self.tokenizer.get_vocab()))
        self.start_id = self._id(START)
        self.end_id = self._id(END)
        self.document_end_id = self._document_end(config)
        lacking = self._control_problem()
        finding = chatml.Finding(problem, problem) if problem else chatml.inspect(self.template)
        self._direct = not (lacking or finding.chat_problem)
        self._direct_tools = self._direct and not finding.tools_problem
        self._own: OwnTemplate | None = None
        self._whole: Tokenizer | None = None    # control tokens in a text are control tokens
        if self.template is not None and not self._direct_tools:
            self._own = OwnTemplate(self.template, self._special())
            self._whole = load_tokenizer(folder)[1]
            if self._direct:                    # plain chats are ours to write, tools the template's
                finding = chatml.Finding(None, self._own.finding.tools_problem, finding.notes)
            elif finding.chat_problem or not self._own.finding.chat_problem:
                finding = self._own.finding
            else:
                finding = chatml.Finding(lacking, lacking)      # ChatML it would be
        elif lacking:
            finding = chatml.Finding(lacking, lacking)
        self.notes = finding.notes
        self.chat_problem = finding.chat_problem
        self.tools_problem = finding.chat_problem or finding.tools_problem
        # Control tokens spelled out in a row stay text; only what we write ourselves is a control token.
        self.tokenizer.encode_special_tokens = True
        self._for_ascii = for_ascii(self.tokenizer)
        special = self._special()
        self._prefix = commonprefix(special)  # noqa: RUF071  (texts; quicker to look for than all of them)
        self._controls = re.compile("|".join(map(re.escape, special)) or r"\Z.")
        self._newline: list[int] = self._ids("\n")
        self._header: list[int] = self._ids("assistant\n")

    @property
    def vocabulary_size(self) -> int:
        return int(self.tokenizer.get_vocab_size())

    def pieces(self, text: str) -> tuple[int, ...]:
        """The tokens of a text by itself; the name of an added token, such as <think>, is that token."""
        added = {token.content: number for number, token in self.tokenizer.get_added_tokens_decoder().items()}
        return (added[text],) if text in added else tuple(self._ids(text))

    def has_ordinary_start(self, text: str) -> bool:
        """Does the text begin with a token that other texts begin with as well?"""
        return self.pieces(text)[0] not in self.tokenizer.get_added_tokens_decoder()

    def render(self, row: Row) -> str:
        """The row as text, as it is trained. Raises as `prepare`."""
        row = self.prepare(row)
        if not row.is_chat:
            return row.turns[0].text
        return self._written(row).text if self._is_own(row) else chatml.write(row.turns)

    def prepare(self, row: Row, system_prompt: str | None = None) -> Row:
        """The row with `system_prompt` where a chat has none, ready to be encoded.

        Raises `BadRow` where the base's template cannot declare the tools.
        """
        if system_prompt and row.is_chat and all(turn.role != "system" for turn in row.turns):
            row = Row((Turn("system", system_prompt, trained=False), *row.turns), row.tools)
        if not row.tools or self._is_own(row):
            return row
        if not self._direct_tools or self.template is None:
            raise BadRow("tools_unsupported", self.tools_problem or "the base model has no chat template")
        try:
            return chatml.declare(row, row.tools, self.template)
        except MACHINE_FAULTS:
            raise
        except Exception as error:              # the template's own code, run over whatever the row says
            what = f"the chat template cannot declare the tools ({type(error).__name__})"
            raise BadRow("bad_tool", what) from None

    def check(self, row: Row) -> Written | None:
        """What the base's own template writes of this row, for `encode`; None where it is not asked.

        Raises `BadRow` where it refuses the row.
        """
        return self._written(row) if self._is_own(row) else None

    def spells_control(self, text: str) -> bool:
        """Does the text hold a control token as ordinary characters?"""
        return self._prefix in text and self._controls.search(text) is not None

    def _is_own(self, row: Row) -> bool:
        """Is it the base's own template that writes this chat?"""
        if self._own is None or not row.is_chat:
            return False
        return not self._direct or (bool(row.tools) and not self.tools_problem)

    def _written(self, row: Row) -> Written:
        assert self._own is not None
        return self._own.write(row)

    def encode(
        self, rows: Sequence[Row], limit: int | None = None, written: Sequence[Written | None] = (),
    ) -> list[Encoded]:
        """Tokens and labels of each row.

        A chat's labels are the tokens of trained assistant turns and their end-of-turn token; a text's are
        all tokens but the first, and a final <|endoftext|> (or the base's eos where it has no such token).
        With `limit`, a row sure to have more tokens than that may come out cut, still longer than `limit`.
        `written` is what `check` gave for each of these rows, so that no template writes them once more.
        Raises `BaseUnusable` for a chat where `chat_problem` is not None, else as `prepare`.
        """
        room = None if limit is None else (limit + 2) * 4 * self.longest_token
        pieces: list[list[tuple[str, Turn]]] = []
        for row in rows:
            if row.is_chat and self.chat_problem:
                raise BaseUnusable(self.chat_problem)
            if not row.is_chat:
                pieces.append(cut([(row.turns[0].text, row.turns[0])], room))
            elif self._is_own(row):
                pieces.append([])               # written below, all in one piece
            else:
                pieces.append(cut(chatml.blocks(shortened(self.prepare(row).turns, room)), room))
        texts = [text for row_pieces in pieces for text, _ in row_pieces]
        encodings = iter(encode_all(self.tokenizer, self._for_ascii, texts))
        made: list[Encoded] = []
        for row, row_pieces, ready in zip(rows, pieces, written or repeat(None, len(rows)), strict=True):
            if not row.is_chat:
                made.append(self._text(next(encodings)))
            elif row_pieces:
                made.append(self._chat(row_pieces, encodings))
            else:
                made.append(self._by_own_template(ready or self._written(row), room))
        return made

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def _chat(self, pieces: list[tuple[str, Turn]], encodings: Any) -> Encoded:
        """ChatML of blocks: `pieces` without their control tokens, with the next `encodings`."""
        ids = array("I")
        spans: list[tuple[int, int]] = []
        for text, turn in pieces:
            own = next(encodings).ids
            ids.append(self.start_id)
            if turn.trained:
                spans.append((len(ids) + self._answer_from(own, text), len(ids) + len(own) + 1))
            ids.extend(own)
            ids.append(self.end_id)
            ids.extend(self._newline)
        labels = np.zeros(len(ids), np.uint8)
        for begin, end in spans:
            labels[begin:end] = 1
        return Encoded(np.frombuffer(ids, np.uint32), labels)

    def _answer_from(self, ids: list[int], text: str) -> int:
        """Where the answer's own tokens begin, behind those of its header."""
        if ids[: len(self._header)] == self._header:
            return len(self._header)            # so many tokens write the header, the rest writes the answer
        encoding = self.tokenizer.encode(text, add_special_tokens=False)
        return first_token_from(encoding, len("assistant\n"), len(text))

    def _text(self, encoding: Encoding) -> Encoded:
        ids = np.array([*encoding.ids, self.document_end_id], np.uint32)
        labels = np.ones(len(ids), np.uint8)
        labels[0] = 0                           # nothing stands before it to learn it from
        return Encoded(ids, labels)

    def _by_own_template(self, written: Written, room: int | None) -> Encoded:
        """The text of a foreign template; a token is an answer's when all its characters are."""
        assert self._whole is not None
        text, ids, offsets = written.text[:room], list[int](), list[tuple[int, int]]()
        parts = [(self._whole, 0, len(text))]
        if written.spelled:                     # control tokens by themselves, what is between them as text
            edges = [0, *(edge for control in written.controls for edge in control), len(text)]
            splitters = [self._whole if n % 2 else self.tokenizer for n in range(len(edges) - 1)]
            parts = list(zip(splitters, edges, edges[1:], strict=False))
        for tokenizer, begin, end in parts:
            encoding = tokenizer.encode(text[begin:end], add_special_tokens=False)
            ids += encoding.ids
            offsets += [(begin + a, begin + b) for a, b in encoding.offsets]
        places = np.array(offsets, np.int64).reshape(-1, 2)
        labels = np.zeros(len(ids), np.uint8)
        for begin, end in written.spans:
            labels[(places[:, 0] >= begin) & (places[:, 1] <= end)] = 1
        labels[:1] = 0                          # nothing stands before it to learn it from
        return Encoded(np.array(ids, np.uint32), labels)

    def _id(self, token: str) -> int:
        """-1 where there is none: then no chat is written directly."""
        found = self.tokenizer.token_to_id(token)
        return -1 if found is None else int(found)

    def _special(self) -> tuple[str, ...]:
        decoder = self.tokenizer.get_added_tokens_decoder()
        return tuple(token.content for token in decoder.values() if token.special)

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
