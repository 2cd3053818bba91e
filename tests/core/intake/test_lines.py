from pathlib import Path

import pytest

from core.intake.lines import FileTooLarge, Lines


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


def test_a_file_over_the_limit_is_judged_by_the_bytes_read(tmp_path: Path) -> None:
    with pytest.raises(FileTooLarge, match="split it"):
        lines_of(tmp_path / "a", b"abc\n" * 3, file_limit=11)


def test_a_first_line_of_nothing_but_a_mark_is_blank(tmp_path: Path) -> None:
    assert [(2, b"a")] == lines_of(tmp_path / "a", b"\xef\xbb\xbf\na\n")
    assert [] == lines_of(tmp_path / "b", b"\xef\xbb\xbf")
