"""Any chat template: with marks in place of what is said, what the template writes around it is known.

Spans follow by construction: an answer stands where its mark stood, its end-of-turn token behind it. Nothing
is searched for in the text of a row.
"""

import json
import re
from dataclasses import dataclass
from itertools import accumulate

from msgspec.structs import replace

from core.intake.chatml import ANSWER, CALL, PLAIN, QUESTION, RESULT, TOOL, Finding
from core.intake.formats import read
from core.intake.marks import marks_of, messages_of, texts_of
from core.intake.problems import MACHINE_FAULTS, BadRow
from core.intake.rows import Json, Row, Turn
from core.intake.sandbox import ChatTemplate

SALTS = ("kqzx", "wvjyqpz")     # two sets of marks: what is the same with both does not depend on them
FRAMES_KEPT = 512

Place = tuple[int, int]         # piece, character in it


@dataclass(frozen=True, slots=True)
class Written:
    """A row as the template writes it; `spans` (characters) are the trained turns, `controls` the tokens."""

    text: str
    spans: list[tuple[int, int]]
    controls: list[tuple[int, int]]     # control tokens that the template wrote
    spelled: bool                       # the row itself spells a control token


@dataclass(frozen=True, slots=True)
class _Frame:
    """What the template writes for turns of these roles: literals with the numbers of marks between them."""

    pieces: tuple[str | int, ...]
    spans: dict[int, tuple[Place, Place]]       # by turn; of every assistant's turn


class OwnTemplate:
    """Writes rows as a base's own template does. `controls` are the tokenizer's special tokens."""

    def __init__(self, template: ChatTemplate, controls: tuple[str, ...]) -> None:
        self._template = template
        longest_first = sorted(controls, key=len, reverse=True)
        self._controls = re.compile("|".join(map(re.escape, longest_first)) or r"\Z.")
        self._frames: dict[tuple[tuple[str, bool], ...], _Frame] = {}
        self._trimmed = frozenset[str]()
        self._lead = ""                         # white space between an answer's header and the answer
        self._headers: dict[str, str] = {}      # role before → what opens an answer after it
        self._escapes_results = False           # are tools' results written as JSON texts?
        self._system_problem: str | None = None
        self.finding = self._inspect()

    def write(self, row: Row) -> Written:
        """Raises `BadRow` where the template does not take the conversation."""
        if self._system_problem and any(turn.role == "system" for turn in row.turns):
            raise BadRow("template_refuses", f"the base's chat template {self._system_problem}")
        return self._filled(self._frame(row), row)

    def _filled(self, frame: _Frame, row: Row) -> Written:
        texts = texts_of(row.turns)
        if self._trimmed or self._escapes_results:
            texts = self._as_written(row.turns, texts)
        pieces = [piece if isinstance(piece, str) else texts[piece] for piece in frame.pieces]
        starts = [0, *accumulate(map(len, pieces))]
        spans = [
            (starts[begin[0]] + begin[1], starts[end[0]] + end[1])
            for number, (begin, end) in frame.spans.items()
            if row.turns[number].trained
        ]
        controls = [
            (starts[number] + found.start(), starts[number] + found.end())
            for number, piece in enumerate(frame.pieces)
            if isinstance(piece, str)
            for found in self._controls.finditer(piece)
        ]
        spelled = any(self._controls.search(text) for text in texts)
        return Written("".join(pieces), spans, controls, spelled)

    def _as_written(self, turns: tuple[Turn, ...], texts: list[str]) -> list[str]:
        """What the template makes of the texts themselves: ends cut, results as JSON."""
        for number, turn in enumerate(turns):
            at = marks_of(turns, number)[0]
            if turn.role in self._trimmed:
                texts[at] = texts[at].strip()
            if turn.role == "tool" and self._escapes_results:
                texts[at] = json.dumps(texts[at], ensure_ascii=False)[1:-1]
        return texts

    def _frame(self, row: Row) -> _Frame:
        if row.tools or any(turn.calls or turn.role == "tool" for turn in row.turns):
            if self.finding.tools_problem:
                raise BadRow("tools_unsupported", self.finding.tools_problem)
            given = [row.tools, [call.arguments for turn in row.turns for call in turn.calls]]
            if self._controls.search(json.dumps(given, ensure_ascii=False)):
                raise BadRow("bad_tool", "a tool or a call spells a control token")
            return self._made(row)
        key = tuple([(turn.role, bool(turn.text)) for turn in row.turns])
        if key not in self._frames:
            if len(self._frames) >= FRAMES_KEPT:
                self._frames.clear()
            self._frames[key] = self._made(row)
        return self._frames[key]

    def _made(self, row: Row) -> _Frame:
        try:
            first, second = (self._split(row, salt) for salt in SALTS)
        except (BadRow, *MACHINE_FAULTS):
            raise
        except Exception as error:              # the template's own code, over whatever the row's shape is
            what = f"the base's chat template takes no such conversation ({type(error).__name__})"
            raise BadRow("template_refuses", what) from None
        if first != second:
            raise BadRow("template_refuses", "what the chat template writes depends on what is said")
        spans = {n: self._span(first, row.turns, n) for n, t in enumerate(row.turns) if t.role == "assistant"}
        return _Frame(first, spans)

    def _split(self, row: Row, salt: str) -> tuple[str | int, ...]:
        """The template's writing, cut at the marks of one set."""
        marks = {f"{salt}{number}{salt}": number for number, text in enumerate(texts_of(row.turns)) if text}
        written = self._template.render(
            messages_of(row.turns, {number: mark for mark, number in marks.items()}),
            list(row.tools) if row.tools else None,
        )
        pieces: list[str | int] = list(re.split(f"({'|'.join(marks)})", written))
        found = [marks[str(mark)] for mark in pieces[1::2]]
        if sorted(found) != sorted(marks.values()):
            raise BadRow("template_refuses", "the chat template leaves out or repeats what is said")
        pieces[1::2] = found
        return tuple(pieces)

    def _span(
        self, pieces: tuple[str | int, ...], turns: tuple[Turn, ...], number: int,
    ) -> tuple[Place, Place]:
        """From the answer's first character to the end of its end-of-turn token."""
        places = [pieces.index(mark) for mark in marks_of(turns, number) if mark in pieces]
        first, last = places[0], places[-1]
        opening, closing = str(pieces[first - 1]), self._controls.search(str(pieces[last + 1]))
        begin = (first, 0)
        if turns[number].calls and not turns[number].said:
            header = self._headers.get(turns[number - 1].role if number else "")
            if header is None or header not in opening:
                raise BadRow("tools_unsupported", "the chat template opens a call in a way of its own")
            begin = (first - 1, opening.index(header) + len(header))
        elif self._lead and opening.endswith(self._lead):
            begin = (first - 1, len(opening) - len(self._lead))
        if closing is None:
            raise BadRow("template_refuses", "the chat template writes no end-of-turn token after an answer")
        return begin, (last + 1, closing.end())

    # -- what the template is like, asked on samples ------------------------------------------------

    def _inspect(self) -> Finding:
        try:
            self._lead, self._trimmed = self._between(), self._trims()
            for messages in (PLAIN[0], PLAIN[2][1:]):
                self._compare(messages)
        except MACHINE_FAULTS:
            raise
        except Exception as error:              # a template may raise anything; the user is shown what
            problem = f"its chat template fails on an ordinary conversation ({type(error).__name__}: {error})"
            return Finding(problem, problem)
        notes = ["chats are written by the base's own chat template"]
        try:
            self._compare(PLAIN[1])
        except MACHINE_FAULTS:
            raise
        except Exception as error:              # a template may raise anything: counted as template_refuses
            self._system_problem = f"takes no system message ({type(error).__name__}: {error})"
            notes.append(f"the chat template {self._system_problem}: rows with one are left out")
        if "<think>" in self._template.render(PLAIN[0]):
            notes.append("the template adds an empty thought before an answer; it is read, not trained")
        return Finding(None, self._tools_problem(), tuple(notes))

    def _tools_problem(self) -> str | None:
        try:
            # one call at a time: some templates know no more, and refuse such rows one by one
            called = [QUESTION, CALL | {"tool_calls": CALL["tool_calls"][:1]}, RESULT, ANSWER]
            quoted = [*called[:2], RESULT | {"content": 'a"b'}, ANSWER]
            self._escapes_results = 'a\\"b' in self._template.render(messages_of(_row(quoted).turns), [TOOL])
            self._headers = {"user": self._header(PLAIN[0]), "tool": self._header(called)}
            for messages in (called, [*called, QUESTION, ANSWER]):
                self._compare(messages, [TOOL])
        except MACHINE_FAULTS:
            raise
        except Exception as error:              # a template may raise anything: told as tools_unsupported
            return f"its chat template writes no tools that we could follow ({type(error).__name__}: {error})"
        return None

    def _between(self) -> str:
        """The white space that a prompt does not have, but an answer's text begins with."""
        prompt = self._template.render([QUESTION], answer_next=True)
        mark = SALTS[0]
        opening = self._template.render([QUESTION, ANSWER | {"content": mark}]).partition(mark)[0]
        rest = opening.removeprefix(prompt) if opening.startswith(prompt) else ""
        return rest if rest.isspace() else ""

    def _trims(self) -> frozenset[str]:
        """Roles whose text loses white space at its ends."""
        padded = f" \n{SALTS[0]} \n"
        samples = {
            "user": [QUESTION | {"content": padded}, ANSWER],
            "assistant": [QUESTION, ANSWER | {"content": padded}],
        }
        trimmed = {role for role, sample in samples.items() if padded not in self._template.render(sample)}
        return frozenset(trimmed | {"system", "tool"} if "user" in trimmed else trimmed)

    def _header(self, messages: list[Json]) -> str:
        """What stands between the last answer and the end of the turn before it."""
        row = _row(messages)
        pieces = self._split(row, SALTS[0])
        opening = str(pieces[pieces.index(len(texts_of(row.turns)) - 1) - 1]).removesuffix(self._lead)
        closed = self._controls.search(opening)
        return opening[closed.start() :] if closed else opening

    def _compare(self, messages: list[Json], tools: list[Json] | None = None) -> None:
        """Does filling in give what the template writes of the words themselves? Raises where it does not."""
        row = replace(_row(messages), tools=tuple(tools) if tools else None)
        written = self._filled(self._made(row), row)
        theirs = self._template.render(messages_of(row.turns), tools)
        if written.text != theirs:
            raise ValueError("it writes words otherwise than what stands for them")
        trained = [written.text[a:b] for a, b in written.spans]
        for turn, text in zip([turn for turn in row.turns if turn.trained], trained, strict=True):
            wanted = [turn.said, *(call.name for call in turn.calls)]
            if not all(each in text for each in (wanted if turn.calls else [turn.text])):
                raise ValueError("an answer is not where it should be")
        ends = {self._controls.findall(text)[-1] for text in trained}
        if tools is None and len(ends) > 1:
            raise ValueError(f"answers end in several ways: {', '.join(sorted(ends))}")
        if tools and str(tools[0]["function"]["description"]) not in theirs:
            raise ValueError("it does not tell which tools there are")


def _row(messages: list[Json]) -> Row:
    return read({"messages": messages}, "messages")
