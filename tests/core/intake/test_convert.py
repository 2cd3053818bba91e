"""What `evertrain add` makes of arrays and packed files."""

import gzip
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.intake.convert import NotConvertible, bring, elements

ROWS: list[Any] = [{"text": "é\u2028", "n": 1.5}, {"text": "two\nlines"}, [], "odd", None, 12]


def rows_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


@pytest.mark.parametrize("indent", [None, 2])
def test_an_array_becomes_a_row_a_line(tmp_path: Path, indent: int | None) -> None:
    source = tmp_path / "rows.json"
    source.write_text("\ufeff " + json.dumps(ROWS, indent=indent) + "\n", encoding="utf-8")
    before = source.read_bytes()
    brought = bring(source, tmp_path / "inbox")

    assert ROWS == rows_of(brought.path)
    assert ("rows.jsonl", before) == (brought.path.name, source.read_bytes())
    assert brought.converted is not None and "6 rows" in brought.converted
    assert hashlib.sha256(brought.path.read_bytes()).hexdigest() == brought.sha256


def test_half_a_character_is_kept_for_the_check_to_name(tmp_path: Path) -> None:
    source = tmp_path / "rows.json"
    source.write_bytes(b'[{"text": "\\ud800"}]')

    assert b'{"text": "\\ud800"}\n' == bring(source, tmp_path / "inbox").path.read_bytes()


VALUES = st.recursive(
    st.one_of(st.none(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(values=st.lists(VALUES, max_size=5), size=st.integers(1, 9), indent=st.sampled_from([None, 1]))
def test_pieces_of_any_size_give_the_same_rows(values: list[Any], size: int, indent: int | None) -> None:
    stream = io.BytesIO(json.dumps(values, ensure_ascii=False, indent=indent).encode())

    assert values == [json.loads(line) for line in elements(lambda _: stream.read(size))]


@pytest.mark.parametrize(("content", "said"), [
    (b'{"text": "a"}\n{"text": "b"}\n', "rename it to .jsonl"),
    (b"", "must hold an array"),
    (b'[{"text": "a"}', "comma is amiss"),
    (b'[{"text": "a"},]', "comma is amiss"),
    (b'[{"text": "a"} {"text": "b"}]', "comma is amiss"),
    (b'[{"text": "a}]', "not readable JSON"),
    (b'[{"text": "a"}] []', "something follows"),
    (b"[" * 100_000, "not readable JSON"),
    (b'["\xff"]', "not UTF-8"),
    (json.dumps(ROWS).encode("utf-16"), "not UTF-8"),
])
def test_what_is_no_array_is_refused_with_a_remedy(tmp_path: Path, content: bytes, said: str) -> None:
    source = tmp_path / "rows.json"
    source.write_bytes(content)
    with pytest.raises(NotConvertible, match=said):
        bring(source, tmp_path / "inbox")

    assert [] == list((tmp_path / "inbox").iterdir())


def test_an_element_without_end_is_refused_early() -> None:
    endless = iter([b'["', *[b"x" * 1000] * 1000])
    with pytest.raises(NotConvertible, match="not readable"):
        list(elements(lambda _: next(endless, b""), limit=10_000))

    assert 900 < len(list(endless))


def test_a_packed_file_is_inflated(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl.gz"
    content = b"".join(b'{"text": "%d"}\n' % n for n in range(1000))
    source.write_bytes(gzip.compress(content))
    brought = bring(source, tmp_path / "inbox")

    assert ("rows.jsonl", content, "inflated") == (
        brought.path.name, brought.path.read_bytes(), brought.converted,
    )


@pytest.mark.parametrize(("content", "said"), [
    (gzip.compress(b"\0" * 20_000_000, mtime=0), "200 times"),
    (gzip.compress(b'{"text": "a"}\n' * 99, mtime=0)[:-9], "not a whole gzip file"),
    (b"no gzip at all", "not a whole gzip file"),
])
def test_bombs_and_torn_files_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    source = tmp_path / "rows.jsonl.gz"
    source.write_bytes(content)
    with pytest.raises(NotConvertible, match=said):
        bring(source, tmp_path / "inbox")

    assert [] == list((tmp_path / "inbox").iterdir())


def test_a_taken_name_gets_a_suffix(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_bytes(b"{}\n")
    first, second = bring(source, tmp_path / "inbox"), bring(source, tmp_path / "inbox")

    assert "rows.jsonl" == first.path.name
    assert f"rows-{first.sha256[:8]}.jsonl" == second.path.name
