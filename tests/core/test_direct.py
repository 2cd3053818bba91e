"""Files past the page cache: the same bytes whatever their size, and none of them left in memory."""

import ctypes
import errno
import fcntl
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.direct import BLOCK, DirectFile

PAGE = mmap.PAGESIZE
SIZES = (1, PAGE, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + PAGE + 5)


def content(size: int) -> bytes:
    return bytes(range(251)) * (size // 251) + bytes(size % 251)


def pieces(data: bytes) -> Iterator[memoryview]:
    """In parts of every length: smaller and larger than a block, odd ones."""
    lengths, begin = (1, 7, PAGE, 3 * PAGE + 1, BLOCK + 3, 2 * BLOCK), 0
    while begin < len(data):
        for length in lengths:
            yield memoryview(data)[begin : begin + length]
            begin += length
            if begin >= len(data):
                break


def put(path: Path, data: bytes) -> None:
    with DirectFile(path, len(data)) as file:
        for piece in pieces(data):
            file.write(piece)


def pages_in_memory(path: Path) -> int:
    """How many pages of a file the page cache holds (mincore)."""
    size = path.stat().st_size
    libc = ctypes.CDLL(None, use_errno=True)
    with path.open("rb") as file, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY) as mapped:
        held = (ctypes.c_ubyte * (-(-size // PAGE)))()
        begin = ctypes.c_char.from_buffer(mapped)
        failed = libc.mincore(ctypes.c_void_p(ctypes.addressof(begin)), ctypes.c_size_t(size), held)
        del begin
        assert not failed, os.strerror(ctypes.get_errno())
    return sum(page & 1 for page in held)


@pytest.mark.parametrize("size", SIZES)
def test_what_is_written_is_what_stands_there(tmp_path: Path, size: int) -> None:
    put(tmp_path / "file", content(size))

    assert content(size) == (tmp_path / "file").read_bytes()
    assert 0o600 == (tmp_path / "file").stat().st_mode & 0o777


def test_only_what_is_no_whole_block_goes_through_the_page_cache(tmp_path: Path) -> None:
    probe = os.open(tmp_path / "probe", os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
    try:
        os.write(probe, mmap.mmap(-1, PAGE))
    except OSError as error:
        pytest.skip(f"the file system of the temporary folder writes through the page cache alone: {error}")
    finally:
        os.close(probe)
    if pages_in_memory(tmp_path / "probe"):
        pytest.skip("the temporary folder lies in memory")
    put(tmp_path / "file", content(4 * BLOCK + 5))

    assert 1 == pages_in_memory(tmp_path / "file")


def test_a_file_system_that_refuses_gets_the_bytes_the_usual_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take the flag and yet refuse the write: of blocks, or of a place inside of one."""
    write, refused = os.write, 0

    def refusing(descriptor: int, data: memoryview) -> int:
        nonlocal refused
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
            refused += 1
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return write(descriptor, data[: PAGE + 1])  # and takes but a part

    monkeypatch.setattr(os, "write", refusing)
    put(tmp_path / "file", content(2 * BLOCK + 5))

    assert content(2 * BLOCK + 5) == (tmp_path / "file").read_bytes()
    assert refused <= 1


def test_a_file_is_never_written_over_another(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"kept")
    with pytest.raises(FileExistsError), DirectFile(tmp_path / "file", 10):
        pass

    assert b"kept" == (tmp_path / "file").read_bytes()


def test_an_error_of_the_writer_closes_the_file(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(KeyError), DirectFile(tmp_path / "file", 10) as file:
        file.write(memoryview(b"12345"))
        raise KeyError

    assert before == len(os.listdir("/proc/self/fd"))
