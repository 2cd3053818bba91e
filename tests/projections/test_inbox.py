"""The inbox: every content under one name, for ever."""

import pytest

from events.types import FileDuplicate, FileIgnored, FilePlaced, FileReopened, FileValidated
from projections.inbox import Inbox, free_name
from tests.facts import sha, specimen
from tests.projections.story import Tale


def with_names(*names: str) -> Inbox:
    tale = Tale()
    for name in names:
        tale.receives(name)
    return tale.state.inbox


@pytest.mark.parametrize(
    ("taken", "name", "expected"),
    [
        ([], "a.jsonl", "a.jsonl"),
        (["a.jsonl"], "a.jsonl", f"a-{sha('x')[:8]}.jsonl"),
        (["a.jsonl", f"a-{sha('x')[:8]}.jsonl"], "a.jsonl", f"a-{sha('x')[:8]}-1.jsonl"),
        (["a"], "a", f"a-{sha('x')[:8]}"),
        ([".jsonl"], ".jsonl", f".jsonl-{sha('x')[:8]}"),
    ],
)
def test_a_taken_name_gets_the_hash_and_keeps_its_ending(taken: list[str], name: str, expected: str) -> None:
    assert expected == free_name(with_names(*taken), name, sha("x"))


def test_a_duplicate_has_a_name_and_a_place_of_its_own() -> None:
    tale = Tale()
    tale.receives("a")
    seq = tale.tell(specimen(FileDuplicate, sha256=sha("a"), name="b", same_as="a"))
    tale.tell(FilePlaced(sha256=sha("a"), path="queue/failed/b", duplicate=seq))

    inbox = tale.state.inbox

    assert {"a": sha("a"), "b": sha("a")} == dict(inbox.names)
    assert "queue/failed/b" == inbox.duplicates[seq].placed
    assert "a" == inbox.files[sha("a")].name


def test_a_reopened_file_is_unchecked_again() -> None:
    tale = Tale()
    tale.receives("a")
    tale.tell(specimen(FileValidated, sha256=sha("a"), verdict="accepted"))
    checked = tale.state.inbox.files[sha("a")]
    tale.tell(FileReopened(sha256=sha("a"), priority="low"))

    assert "accepted" == checked.verdict
    assert tale.state.inbox.files[sha("a")].verdict is None


def test_what_was_ignored_is_remembered_by_its_name() -> None:
    tale = Tale()
    tale.tell(FileIgnored(original="link", reason="a symbolic link", remedy="put the file itself here"))

    assert {"link": "a symbolic link"} == dict(tale.state.inbox.ignored)
