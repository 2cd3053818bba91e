"""The manifest: it comes back as it was written, one changed byte is refused, and no name leads outside."""

import hashlib
import random
from dataclasses import replace

import pytest

from core.store.manifest import LOG, Entry, Manifest, ManifestDamaged, decode
from tests.facts import sha

FILE = Entry(sha256=sha("file"), size_bytes=5, mode=0o600)
MANIFEST = Manifest(
    format=1,
    id="b0001",
    created_at="2026-01-31T12:00:00+00:00",
    software="1.0",
    base_model="models/tiny",
    started=(7, sha("started")),
    log=(9, sha("log")),
    versions=("v0001",),
    checkpoints=("models/current_model/checkpoint-7",),
    files={LOG: FILE, "config.json": FILE, "queue/normal/ünï \\ code.jsonl": FILE},
)


def test_it_comes_back_as_it_was_written() -> None:
    assert MANIFEST == decode(MANIFEST.encode())
    assert {sha("file"): 5} == MANIFEST.objects
    assert 5 == MANIFEST.size_bytes


def test_every_single_changed_byte_is_refused() -> None:
    whole, chance = MANIFEST.encode(), random.Random(3)
    for place in range(len(whole)):
        torn = bytearray(whole)
        torn[place] ^= chance.randrange(1, 256)
        with pytest.raises(ManifestDamaged):
            decode(bytes(torn))


@pytest.mark.parametrize(
    "raw", [b"", b"{}", b"[]", b"null", MANIFEST.encode()[:-9], b"[" * 10**5, b"\xff" * 99]
)
def test_what_is_no_manifest_is_refused(raw: bytes) -> None:
    with pytest.raises(ManifestDamaged):
        decode(raw)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd", "../outside", "queue/../../outside", "..", ".", "", "queue//twice", "./queue",
        "queue/", "queue/./a", "nul\0", f"{LOG}/below a file",
    ],
)  # fmt: skip
def test_a_name_that_leads_elsewhere_is_refused_even_with_a_proper_hash(name: str) -> None:
    with pytest.raises(ManifestDamaged, match="no name of a file inside"):
        decode(replace(MANIFEST, files=MANIFEST.files | {name: FILE}).encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "../b0001"},
        {"id": "b1/../../x"},
        {"base_model": "/"},
        {"base_model": "../.."},
        {"files": {"config.json": FILE}},
        {"files": {LOG: replace(FILE, sha256="../../../etc/passwd")}},
        {"files": {LOG: replace(FILE, size_bytes=-1)}},
    ],
)
def test_what_would_reach_outside_by_other_ways_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ManifestDamaged):
        decode(replace(MANIFEST, **changes).encode())  # type: ignore[arg-type]


def test_a_newer_format_is_refused_with_what_to_do() -> None:
    with pytest.raises(ManifestDamaged, match="install the newer"):
        decode(replace(MANIFEST, format=2).encode())


def test_the_hash_in_it_is_that_of_the_very_bytes() -> None:
    raw = MANIFEST.encode()
    body = raw[raw.index(b'"manifest":') + len(b'"manifest":') : -1]

    assert hashlib.sha256(body).hexdigest().encode() in raw
