"""The report on a file: what was counted while reading it, and the verdict that follows from the counts."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from core.intake.problems import ROW_CODES
from core.intake.rows import Row, composed
from core.intake.twins import COMPARED, Fingerprints
from core.settings import Settings

LINES_PER_CODE = 20
ALWAYS_REJECTED = 0.5           # share of rows left out from which on no setting helps
LEAK_LENGTH = 24                # characters; a shorter answer (a number, yes) stands in a question by right
LEAK_REACH = 500_000            # characters of a row; it is compared with itself
SHORT_ANSWER = 5                # tokens a row, on average


@dataclass(frozen=True, slots=True)
class Problem:
    line: int
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One file's check; `as_json` is what `evertrain check --json` prints for it."""

    file: str
    sha256: str
    format: str                             # of most rows; "unknown" when no row told one
    verdict: str                            # accepted, accepted_with_warnings or rejected
    reason: str | None                      # why it was rejected, and what to do
    rows: int
    accepted_rows: int
    dropped_rows: int
    tokens: int                             # of the accepted rows
    trainable_tokens: int
    lengths: dict[str, int | None]          # p50, p95, p99, max in tokens; of huge rows a lower bound
    mask_ratio: float | None                # share of tokens that are trained
    duplicates: int
    leaks: int
    problems: tuple[Problem, ...]           # the first 20 of each code
    counts: dict[str, int]                  # code → rows
    warnings: tuple[str, ...]
    seconds: float
    store: str | None                       # key of the token store, where one was written
    max_length: int
    trained_before: int = 0                 # accepted rows that trained files had
    estimated_steps: int | None = None      # None for a rejected file
    estimated_seconds: float | None = None  # None before the first step of the workspace as well

    @property
    def is_accepted(self) -> bool:
        return self.verdict != "rejected"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def lines(self) -> dict[str, tuple[int, ...]]:
        """The first lines of each code; none for the file's own codes."""
        found: dict[str, list[int]] = {}
        for problem in self.problems:
            if problem.line:
                found.setdefault(problem.code, []).append(problem.line)
        return {code: tuple(lines) for code, lines in sorted(found.items())}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Report":
        problems = tuple(Problem(**problem) for problem in value["problems"])
        return cls(**{**value, "problems": problems, "warnings": tuple(value["warnings"])})


@dataclass(slots=True)
class Tally:
    """Running counts over one file."""

    format: str = "unknown"
    rows: int = 0
    accepted: int = 0
    tokens: int = 0
    trained: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    lengths: Counter[int] = field(default_factory=Counter)
    fatal: str | None = None                # a reason to reject whatever the rows say
    rows_seen: Fingerprints = field(default_factory=Fingerprints)

    def note(self, line: int, code: str, message: str) -> None:
        self.counts[code] += 1
        if self.counts[code] <= LINES_PER_CODE:
            self.problems.append(Problem(line, code, message))

    def refuse(self, code: str, reason: str) -> None:
        """Reject the whole file, whatever its rows say."""
        self.counts[code] += 1
        self.problems.append(Problem(0, code, reason))
        self.fatal = f"{code}: {reason}"

    def accept(self, line: int, row_sha256: bytes, tokens: int, trained: int) -> None:
        self.accepted += 1
        self.tokens += tokens
        self.trained += trained
        self.rows_seen.add(row_sha256, line)

    def find_duplicates(self) -> None:
        """Note every row whose content stood earlier in the file."""
        again = self.rows_seen.again()
        for line in again[:LINES_PER_CODE].tolist():
            self.note(line, "duplicate", "the same row stands earlier in the file")
        self.counts["duplicate"] = len(again)
        self.counts = +self.counts              # a count of none is no entry
        if not self.rows_seen.complete:
            self.warnings.append(f"duplicates were looked for in the first {COMPARED:,} rows only")

    def reason(self, settings: Settings) -> str | None:
        """Why the file is rejected, None if it is not."""
        unusable = sum(n for code, n in self._dropping().items() if code != "too_long")
        too_long = self.counts["too_long"]
        if self.fatal:
            return self.fatal
        if too_long and settings.too_long == "reject":
            return f"too_long: {too_long} of {self.rows} rows, and too_long rejects; {self.advice(settings)}"
        remedy = f"; {self.advice(settings)}" if too_long else ""
        common = self.most_common()
        if not self.accepted:
            return f"{common}: none of {self.rows} rows is usable{remedy}"
        if unusable + too_long >= ALWAYS_REJECTED * self.rows:
            return f"{common}: {unusable + too_long} of {self.rows} rows are unusable or too long{remedy}"
        if unusable > settings.max_bad_rows * self.rows:
            allowed = f"{settings.max_bad_rows:.0%}"
            return f"{common}: {unusable} of {self.rows} rows are unusable, max_bad_rows allows {allowed}"
        return None

    def most_common(self) -> str:
        return next((code for code, _ in self._dropping().most_common(1)), "")

    def _dropping(self) -> Counter[str]:
        drops = {code for code, what in ROW_CODES.items() if what.drops}
        return Counter({code: count for code, count in self.counts.items() if code in drops})

    def advice(self, settings: Settings) -> str:
        longest = max(self.lengths, default=0)
        return f"the longest row has {longest} tokens, max_length is {settings.max_length}"

    def percentiles(self) -> dict[str, int | None]:
        """p50, p95, p99 and max of the rows' lengths in tokens."""
        if not self.lengths:
            return dict.fromkeys(("p50", "p95", "p99", "max"))
        values = np.array(sorted(self.lengths), np.int64)
        below = np.cumsum([self.lengths[int(value)] for value in values])
        ranks = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
        places = {name: np.searchsorted(below, np.ceil(share * below[-1])) for name, share in ranks.items()}
        return {name: int(values[place]) for name, place in places.items()}

    def describe(self, settings: Settings) -> tuple[str, ...]:
        """The warnings as sentences: the file's own first, then one for each code."""
        said = list(self.warnings)
        for code, count in sorted(self.counts.items()):
            if code not in ROW_CODES:
                continue
            advice = f"; {self.advice(settings)}" if code in ("too_long", "truncated") else ""
            said.append(warning(code, count, self.rows) + advice)
        if self.accepted and self.trained < SHORT_ANSWER * self.accepted:
            said.append(f"short_answers: {self.trained / self.accepted:.1f} trained tokens a row on average")
        return tuple(said)


def warning(code: str, count: int, rows: int) -> str:
    """A code's warning as a sentence."""
    left_out = " (left out)" if ROW_CODES[code].drops else ""
    return f"{code}: {count} of {rows} rows{left_out}: {ROW_CODES[code].meaning}"


def leaks(row: Row) -> bool:
    """Does a trained answer stand word for word in what was said before it? Not asked of endless rows."""
    if sum([len(turn.text) for turn in row.turns]) > LEAK_REACH:
        return False
    asked: list[str] = []
    for turn in row.turns:
        if turn.role == "text":
            return False
        text = composed(turn.text).casefold()
        if turn.role != "assistant":
            asked.append(text)
        elif turn.trained and len(text) >= LEAK_LENGTH and _stands_in(text, asked):
            return True
    return False


def _stands_in(text: str, asked: list[str]) -> bool:
    """Word for word, white space aside. Its last word is looked for first: nearly always that is enough."""
    last = text.rsplit(None, 1)[-1:]
    if not last or not any([last[0] in each for each in asked]):
        return False
    words = " ".join(text.split())
    return len(words) >= LEAK_LENGTH and words in "\n".join([" ".join(each.split()) for each in asked])
