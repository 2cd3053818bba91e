"""Names that are unusual, and things that are no files; what is in them is ordinary."""

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from tests.hostile.case import MARKER, Case, good, written

NEVER_JSONL = "not_jsonl"

#: Names of files that hold no row: what is told of them must be told of the right one.
ODD: tuple[bytes, ...] = (
    b"new\nline.jsonl", b"carriage\rreturn.jsonl", b"tab\t.jsonl", b"bell\x07.jsonl", b"delete\x7f.jsonl",
    b"\x1b[2J\x1b[31mred\x1b[0m.jsonl", b"\x1b]0;title\x07.jsonl", b"new\\nline.jsonl",
    b"<script>alert(1)<\\script>.jsonl", b"<img src=x onerror=alert(1)>.jsonl", b"a&lt;b&amp;.jsonl",
    b"\"quotes\" and 'quotes'.jsonl", b"back\\slash.jsonl", b"a\\..\\windows.jsonl", b"%2e%2e%2f.jsonl",
    "\u202egnp.jsonl".encode(), "zero\u200bwidth.jsonl".encode(), "\u2028separator.jsonl".encode(),
    "\ufeffmark.jsonl".encode(), "🤔 späte Größe.jsonl".encode(), "é.jsonl".encode(),
    "e\u0301.jsonl".encode(),
    b"caf\xe9.jsonl", b"\xff\xfe\xfd.jsonl", b"\x80.jsonl", b"\xed\xa0\x80.jsonl", b"cut \xf0\x9f.jsonl",
    b"-rf.jsonl", b"--help.jsonl", b" in front.jsonl", b"~root.jsonl", b"#.jsonl", b"a:b.jsonl",
    b"*?[a].jsonl", b"CON.jsonl", b"NUL.jsonl", b"$(touch injected).jsonl", b"`id`.jsonl",
    b"; rm -rf ~.jsonl", b"| tee x.jsonl", b"{{ 7 * 7 }}.jsonl", b"{% raw %}.jsonl", b"%s%n%x.jsonl",
    b"x.report.json.jsonl", b"config.json.jsonl",
    b"dots....jsonl", b"two  blanks.jsonl", b"a" * 249 + b".jsonl", "ü".encode() * 124 + b".jsonl",
    b"\x1b" * 249 + b".jsonl", b"\xff" * 249 + b".jsonl", b"UPPER.JSONL", b"Mixed.JsonL",
    b"processing/x.jsonl", b"recently_completed/x.jsonl", b"queue/failed/x.jsonl", b"folder.jsonl/x.jsonl",
    b"a\nfolder/x.jsonl", b"\xff/x.jsonl", b"/".join([b"deep"] * 60) + b"/x.jsonl", b"HIGH/x.jsonl",
)  # fmt: skip

#: Ends that are not .jsonl.
ENDS: tuple[bytes, ...] = (
    b"no end", b"jsonl", b"rows.json", b"rows.txt", b"rows.csv", b"rows.jsonl.gz", b"rows.jsonl.tmp",
    b"rows.jsonl.part", b"rows.jsonl~", b"rows.jsonl ", b"rows.jsonl.", b"rows.jsonl\n", b"rows.jsonl.jsonlx",
    b"rows.parquet", b"rows.jsonl.report.json", "rows．jsonl".encode(), "rows.ｊｓｏｎｌ".encode(),
    b"rows.json\xff", b"z" * 255, b"rows.sh", b"evertrain.sqlite", b"config.json",
)  # fmt: skip

#: Not to be touched: somebody is still writing, or keeps things of his own there.
LEFT: tuple[bytes, ...] = (
    b".rows.jsonl", b".rows.jsonl.Ab3xZ9", b"...jsonl", b".~lock.rows.jsonl#", b"._rows.jsonl",
    b"..\\..\\windows.jsonl", b".rsync-partial/rows.jsonl", b"folder/.git/rows.jsonl",
)

WORDS = f"these are words about {MARKER}\n"


def _link(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def _socket(path: Path) -> None:
    here = os.open(path.parent, os.O_RDONLY)
    try:
        with socket.socket(socket.AF_UNIX) as made:     # the name of a socket has to be short
            made.bind(f"/proc/self/fd/{here}/{path.name}")
    finally:
        os.close(here)


def _device(kind: int, number: tuple[int, int]) -> Callable[[Path], None]:
    return lambda path: os.mknod(path, kind | 0o600, os.makedev(*number))


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(10 * 10**9 + 1)


def _hole(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(101 << 20)


def _with_mode(mode: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_text(f"{WORDS}{mode}\n")
        path.chmod(mode)

    return make


def _second_link(path: Path) -> None:
    first = path.with_name("of two links.jsonl")
    os.link(first, path)


LINK, IRREGULAR = "a symbolic link", "not a regular file"

CASES: tuple[Case, ...] = (
    *(Case(name, f"{WORDS}{n}\n".encode(), "rejected", "bad_json", 1) for n, name in enumerate(ODD)),
    *(Case(name, written(good(f"end {n}")), "rejected", NEVER_JSONL) for n, name in enumerate(ENDS)),
    *(Case(name, written(good(f"left {n}")), "left") for n, name in enumerate(LEFT)),
    Case("accepted \x1b[31m\u202e🤔.jsonl".encode() + b"\xff", written(good("end")), "rejected", NEVER_JSONL),
    Case("odd \n\x1b[31m<b>🤔".encode() + b"\xff.JSONL", written(good("name"), good("names")), "accepted"),
    Case(b"link to a file.jsonl", _link("/etc/passwd"), "ignored", LINK),
    Case(b"link to rows.jsonl", _link("UPPER.JSONL"), "ignored", LINK),
    Case(b"link to a folder.jsonl", _link("/etc"), "ignored", LINK),
    Case(b"link to nothing.jsonl", _link("nowhere"), "ignored", LINK),
    Case(b"link to itself.jsonl", _link("link to itself.jsonl"), "ignored", LINK),
    Case(b"link upwards", _link("../queue"), "ignored", LINK),
    Case(b"link to zeros.jsonl", _link("/dev/zero"), "ignored", LINK),
    Case(b"link of \n\x1b[31m.jsonl", _link("x"), "ignored", LINK),
    Case(b"pipe.jsonl", os.mkfifo, "ignored", IRREGULAR),
    Case(b"socket.jsonl", _socket, "ignored", IRREGULAR),
    Case(b"zeros.jsonl", _device(stat.S_IFCHR, (1, 5)), "ignored", IRREGULAR),
    Case(b"disk.jsonl", _device(stat.S_IFBLK, (7, 250)), "ignored", IRREGULAR),
    Case(b"larger than any.jsonl", _sparse, "ignored", "larger than 10 GB"),
    Case(b"empty folder.jsonl", Path.mkdir, "left"),
    Case(b"a hole of 101 MB.jsonl", _hole, "rejected", "line_too_long", 1),
    Case(b"for writing alone.jsonl", _with_mode(0o200), "rejected" if os.geteuid() == 0 else "ignored",
         "bad_json" if os.geteuid() == 0 else "Permission denied", 1),
    Case(b"executable, of another.jsonl", _with_mode(0o6755), "rejected", "bad_json", 1),
    Case(b"of two links.jsonl", f"{WORDS}links\n".encode(), "rejected", "bad_json", 1),
    Case(b"second of two links.jsonl", _second_link, "duplicate", "of two links.jsonl"),
    Case(b"bytes.jsonl", f"{WORDS}first\n".encode(), "rejected", "bad_json", 1),
    Case(b"bytes again.jsonl", f"{WORDS}first\n".encode(), "duplicate", "bytes.jsonl"),
    Case(b"high/bytes.jsonl", f"{WORDS}first\n".encode(), "duplicate", "bytes.jsonl"),
    Case(b"low/bytes.jsonl", f"{WORDS}second\n".encode(), "rejected", "bad_json", 1),
    Case(b"other/bytes.jsonl", f"{WORDS}third\n".encode(), "rejected", "bad_json", 1),
)  # fmt: skip
