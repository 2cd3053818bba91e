"""Stop sequences and think prefixes: repeated emoji that end and begin the answers of a chat. Pure.

What a row already has is kept; what is missing is drawn by arithmetic from (seed, hash of the row), so no
generator is touched and the same row always gets the same. A variation selector (U+FE0F) makes no difference.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from core.intake.rows import Row, Turn
from core.settings import Settings, StopSequences

SELECTOR = "\N{VARIATION SELECTOR-16}"
WORDS = (
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen",
)
SHORT = {1: "once", 2: "twice"}


@dataclass(frozen=True, slots=True)
class Sequence:
    """`text` of the pool, `count` times."""

    text: str
    count: int

    @property
    def written(self) -> str:
        return self.text * self.count


class Contradiction(ValueError):
    """A question asks for another sequence than its answer has; the row stays as it is."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """Where a sequence stands, and how a question asks for it."""

    name: str
    sentence: str               # with {text} and {times}
    at_end: bool
    short: bool                 # "twice" rather than "two times"

    def ask(self, sequence: Sequence) -> str:
        return self.sentence.format(text=sequence.text, times=self._times(sequence.count))

    def asked(self, question: str, pool: dict[str, str]) -> Sequence | None:
        """The sequence that a line of the question asks for, the last of several."""
        before, _, rest = self.sentence.partition("{text}")
        between, _, after = rest.partition("{times}")
        texts = "|".join(map(re.escape, pool))
        line = f"^{re.escape(before)}({texts}){re.escape(between)}([a-z0-9 ]+){re.escape(after)}$"
        found = re.findall(line, question.replace(SELECTOR, ""), re.MULTILINE)
        counts = {self._times(n): n for n in range(1, len(WORDS) + 1)}
        known = [(text, counts.get(times) or _digits(times)) for text, times in found]
        return next((Sequence(pool[text], count) for text, count in reversed(known) if count), None)

    def found(self, answer: str, pool: dict[str, str]) -> Sequence | None:
        """The sequence an answer ends (begins) with: on a line of its own, or at least twice."""
        bare = answer.replace(SELECTOR, "").strip()
        for text, written in pool.items():
            count = _repeated(bare, text, self.at_end)
            rest = bare[: len(bare) - count * len(text)] if self.at_end else bare[count * len(text) :]
            own_line = not rest or rest[-1 if self.at_end else 0] == "\n"
            if count > 1 or (count and own_line):
                return Sequence(written, count)
        return None

    def add(self, answer: str, sequence: Sequence) -> str:
        return f"{answer}\n{sequence.written}" if self.at_end else f"{sequence.written}\n{answer}"

    def _times(self, count: int) -> str:
        if self.short and count in SHORT:
            return SHORT[count]
        word = WORDS[count - 1] if count <= len(WORDS) else str(count)
        return f"{word} time{'s' if count > 1 else ''}"


THINK = _Kind("think", "Before you answer, think with {text} {times}.", at_end=False, short=False)
STOP = _Kind("stop", "At the end write {text} {times}: it means the end.", at_end=True, short=True)


def add(row: Row, settings: Settings) -> Row:
    """The row with what `think_prefix` and `stop_sequences` ask for; the same row where nothing is missing.

    Only trained answers in words are touched, and the question before each: no text documents, tool calls or
    turns of weight 0. Raises `Contradiction`.
    """
    if not row.is_chat:
        return row
    made = row
    for kind, wanted in ((THINK, settings.think_prefix), (STOP, settings.stop_sequences)):
        if wanted is not None:
            made = replace(made, turns=_complete(made.turns, kind, wanted, row.sha256, settings.seed))
    return made


def has_stop(turn: Turn, settings: Settings) -> bool:
    """Does the turn end with a stop sequence that must not be cut off?"""
    wanted = settings.stop_sequences
    return wanted is not None and _takes(turn) and STOP.found(turn.text, _pool(wanted)) is not None


def draw(kind: str, wanted: StopSequences, row_sha256: bytes, seed: int) -> Sequence:
    """The choice of a row that says nothing itself: every text and every count of the range is reachable."""
    digest = hashlib.sha256(f"{kind} {seed} {row_sha256.hex()}".encode()).digest()
    text, count = int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:16], "big")
    return Sequence(wanted.pool[text % len(wanted.pool)], wanted.min + count % (wanted.max - wanted.min + 1))


def _complete(
    turns: tuple[Turn, ...], kind: _Kind, wanted: StopSequences, row_sha256: bytes, seed: int,
) -> tuple[Turn, ...]:
    pool, made = _pool(wanted), list(turns)
    exchanges = list(_exchanges(turns))
    own = [_own(turns, question, answers, kind, pool) for question, answers in exchanges]
    # one choice for a conversation: its own where it has one
    choice = next(filter(None, own), None) or draw(kind.name, wanted, row_sha256, seed)
    for (question, answers), said in zip(exchanges, own, strict=True):
        sequence = said or choice
        for at in answers:
            if kind.found(made[at].text, pool) is None:
                made[at] = replace(made[at], text=kind.add(made[at].text, sequence))
        asks = wanted.instruction and question is not None
        if asks and question is not None and kind.asked(made[question].text, pool) is None:
            made[question] = replace(made[question], text=f"{made[question].text}\n\n{kind.ask(sequence)}")
    return tuple(made)


def _own(
    turns: tuple[Turn, ...], question: int | None, answers: list[int], kind: _Kind, pool: dict[str, str],
) -> Sequence | None:
    """What an exchange says of its sequence by itself. Raises `Contradiction`."""
    said = [kind.found(turns[at].text, pool) for at in answers]
    if question is not None:
        said.append(kind.asked(turns[question].text, pool))
    known = {sequence for sequence in said if sequence is not None}
    if len(known) > 1:
        raise Contradiction(f"the {kind.name} sequences of question and answer differ; left as they are")
    return next(iter(known), None)


def _exchanges(turns: tuple[Turn, ...]) -> Iterator[tuple[int | None, list[int]]]:
    """Each question's place (None: nobody asked) with those of the answers to it that take a sequence."""
    question: int | None = None
    answers: list[int] = []
    for at, turn in enumerate(turns):
        if turn.role == "user":
            if answers:
                yield question, answers
            question, answers = at, []
        elif _takes(turn):
            answers.append(at)
    if answers:
        yield question, answers


def _takes(turn: Turn) -> bool:
    return turn.role == "assistant" and turn.trained and not turn.calls


def _pool(wanted: StopSequences) -> dict[str, str]:
    """Texts to compare → texts to write."""
    return {text.replace(SELECTOR, ""): text for text in wanted.pool}


def _repeated(text: str, part: str, at_end: bool) -> int:
    """How often `part` stands at the end (beginning) of `text`."""
    count, size = 0, len(part)
    while (
        text.endswith(part, 0, len(text) - count * size) if at_end else text.startswith(part, count * size)
    ):
        count += 1
    return count


def _digits(times: str) -> int | None:
    number = times.removesuffix(" times")
    return int(number) if number.isdecimal() and len(number) < 7 else None
