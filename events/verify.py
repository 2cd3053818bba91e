"""Verification: is the log whole, gapless and as it was written?"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from db.engine import damage
from events.chain import GENESIS, link
from events.codec import UnknownFact, decode
from events.log import request_hash
from events.reading import COLUMNS

#: Every answered command with the commit that it names, if there is one.
ANSWERS = """
SELECT command.first_seq, command.last_seq, command.request_hash, command.at, commit_log.at
FROM command LEFT JOIN commit_log USING (first_seq, last_seq) ORDER BY command.first_seq
"""
ANSWERED = "SELECT stream, type, version, data FROM event WHERE seq BETWEEN ? AND ? ORDER BY seq"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is not as it should be."""

    kind: str
    seq: int | None
    path: str | None
    detail: str
    remedy: str | None = None


@dataclass(frozen=True, slots=True)
class Anchor:
    """A chain head that is kept outside the log: of the commit that ends with `seq`; `where` it lies."""

    seq: int
    hash: str  # hex
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """What was read, and what was found."""

    events: int
    head_hash: str
    problems: tuple[Problem, ...]


def verify_log(connection: Any, anchors: Iterable[Anchor] = (), most: int = 100) -> Verified:
    """Read every byte: SQLite's own check, gapless seqs, the chain, every payload, and `anchors`.

    The anchors find a log that was cut off, and one that was rewritten together with its chain. A command's
    answer is compared with its facts, but for its key, which stands nowhere else.
    """
    problems: list[Problem] = []
    expected, previous, events = 1, GENESIS, 0
    heads: dict[int, str] = {}
    outside = tuple(anchors)
    wanted = {anchor.seq for anchor in outside}
    try:
        connection.execute("BEGIN")  # one moment for every read below, while others go on appending
        for (line,) in connection.execute("PRAGMA integrity_check(20)"):
            if line != "ok":
                problems.append(Problem("sqlite", None, None, line))
        commits = connection.execute(
            "SELECT first_seq, last_seq, at, prev_hash, hash FROM commit_log ORDER BY first_seq"
        )
        rows = _grouped(connection)
        held = next(rows, None)
        for first, last, at, prev_hash, stored in commits:
            if first != expected:
                problems.append(
                    Problem("gap", expected, None, f"the chain goes from #{expected - 1} to #{first}")
                )
            batch = []
            while held is not None and held[0] <= last:
                if held[0] < first:
                    problems.append(Problem("unchained", held[0], None, "a fact that no commit holds"))
                else:
                    batch.append(held)
                held = next(rows, None)
            events += len(batch)
            if len(batch) != last - first + 1:  # seqs are unique and sorted: the count tells
                problems.append(
                    Problem("missing", first, None, f"facts are missing between #{first} and #{last}")
                )
            if prev_hash != previous:
                problems.append(Problem("chain", first, None, "the link to the commit before is broken"))
            if stored != link(prev_hash, first, last, at, batch):
                problems.append(
                    Problem("changed", first, None, f"facts #{first} to #{last} are not as they were written")
                )
            problems += _undecodable(batch)
            expected, previous = last + 1, stored
            if last in wanted:
                heads[last] = stored.hex()
            if len(problems) >= most:
                break
        while held is not None and len(problems) < most:
            problems.append(Problem("unchained", held[0], None, "a fact that no commit holds"))
            held = next(rows, None)
        problems += _answers(connection)
    except damage() as error:
        problems.append(Problem("sqlite", expected, None, f"cannot be read from here on: {error}"))
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    for anchor in outside:
        if heads.get(anchor.seq) != anchor.hash:
            detail = "the chain head kept outside the log is not the log's: facts were cut off or rewritten"
            problems.append(Problem("anchor", anchor.seq, anchor.where, detail))
    return Verified(events, previous.hex(), tuple(problems[:most]))


def _grouped(connection: Any) -> Iterator[Any]:
    after = 0
    while True:
        page = connection.execute(
            f"SELECT {COLUMNS} FROM event WHERE seq > ? ORDER BY seq LIMIT 5000", (after,)
        ).fetchall()
        yield from page
        if len(page) < 5000:
            return
        after = page[-1][0]


def _answers(connection: Any) -> Iterator[Problem]:
    """The answers to commands that are not those of the commits they name."""
    for first, last, stored, at, committed in connection.execute(ANSWERS).fetchall():
        facts = connection.execute(ANSWERED, (first, last)).fetchall()
        if at != committed or stored != request_hash(facts):
            yield Problem("answer", first, None, "the answer kept for a command is not what was appended")


def _undecodable(batch: list[Any]) -> list[Problem]:
    found = []
    for row in batch:
        try:
            decode(row[4], row[5], row[8])
        except (ValueError, TypeError, KeyError, UnknownFact) as error:  # msgspec's errors are ValueErrors
            found.append(Problem("unreadable", row[0], None, f"{type(error).__name__}: {str(error)[:200]}"))
    return found
