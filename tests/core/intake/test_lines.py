from pathlib import Path

import pytest

from core.intake.lines import PIECE, FileTooLarge, Lines


def lines_of(path: Path, content: bytes, **limits: int) -> list[tuple[int, bytes | None]]:
    path.write_bytes(content)
    return list(Lines(path, **limits))


def test_only_a_newline_ends_a_row(tmp_path: Path) -> None:
    content = 'a\u2028b\r\n\n \t\nc\x0bd'.encode()

    assert [(1, 'a\u2028b'.encode()), (4, b"c\x0bd")] == lines_of(tmp_path / "a", content)


def test_a_byte_order_mark_is_skipped_and_told(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"\xef\xbb\xbfa\n")
    lines = Lines(path)

    assert [(1, b"a")] == list(lines)
    assert lines.has_bom


def test_an_overlong_line_costs_only_itself(tmp_path: Path) -> None:
    content = b"ab\n" + b"x" * 3_000_000 + b"\n" + b"cd\nabcde\n"

    expected = [(1, b"ab"), (2, None), (3, b"cd"), (4, b"abcde")]
    assert expected == lines_of(tmp_path / "a", content, line_limit=5)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
@pytest.mark.parametrize("more", range(-3, 4))
def test_a_line_of_any_length_is_the_same_line(tmp_path: Path, more: int, end: bytes) -> None:
    """Long ones are read in pieces, and one may end where a piece ends."""
    for pieces in (1, 2, 3):
        long = b"x" * (pieces * PIECE + more)
        read = lines_of(tmp_path / "a", b"ab\n" + long + end + (b"cd\n" if end else b""))

        assert [(1, b"ab"), (2, long), (3, b"cd")][: 3 if end else 2] == read


def test_the_limit_of_a_line_counts_no_newline(tmp_path: Path) -> None:
    for limit in (5, PIECE - 1, PIECE, PIECE + 1):
        content = b"x" * limit + b"\n" + b"y" * (limit + 1) + b"\n" + b"z" * (limit + 1)
        read = lines_of(tmp_path / "a", content, line_limit=limit)

        assert [(1, b"x" * limit), (2, None), (3, None)] == read


def test_a_file_over_the_limit_is_judged_by_the_bytes_read(tmp_path: Path) -> None:
    with pytest.raises(FileTooLarge, match="split it"):
        lines_of(tmp_path / "a", b"abc\n" * 3, file_limit=11)


def test_a_first_line_of_nothing_but_a_mark_is_blank(tmp_path: Path) -> None:
    assert [(2, b"a")] == lines_of(tmp_path / "a", b"\xef\xbb\xbf\na\n")
    assert [] == lines_of(tmp_path / "b", b"\xef\xbb\xbf")
