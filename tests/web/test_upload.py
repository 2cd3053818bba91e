"""The upload: a file arrives in the inbox whole, under a harmless name, or not at all."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.testclient import TestClient

from tests.web.story import Story
from web import forms
from web.forms import BadForm, Part

OURS = {"sec-fetch-site": "same-origin"}


def inbox(story: Story) -> dict[str, bytes]:
    root = story.workspace.inbox
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def send(client: TestClient, *files: tuple[str, bytes], priority: str = "high") -> Any:
    parts = [("files", (name, content, "application/x-ndjson")) for name, content in files]
    return client.post("/queue/upload", data={"priority": priority}, files=parts, headers=OURS)


def test_a_file_lands_in_the_inbox_of_its_priority(story: Story, client: TestClient) -> None:
    content = b'{"text": "a row"}\r\n--x\r\n' * 100_000
    answer = send(client, ("rows.jsonl", content))

    assert (303, "/queue?taken=1") == (answer.status_code, answer.headers["location"])
    assert {"high/rows.jsonl": content} == inbox(story)
    assert "1 file received" in client.get("/queue?taken=1").text


def test_several_files_and_equal_names_all_stay(story: Story, client: TestClient) -> None:
    send(client, ("a.jsonl", b"1"), ("a.jsonl", b"2"), ("b.jsonl", b""), priority="low")

    assert {"low/a.jsonl": b"1", "low/a-2.jsonl": b"2", "low/b.jsonl": b""} == inbox(story)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/evil.jsonl", "evil.jsonl"),
        ("C:\\Users\\me\\rows.jsonl", "rows.jsonl"),
        ("...hidden.jsonl", "hidden.jsonl"),
        ("a\u202eb.jsonl", "a_b.jsonl"),
    ],
)
def test_a_name_is_a_label_and_never_a_path(story: Story, client: TestClient, given: str, kept: str) -> None:
    send(client, (given, b"x"))

    assert {f"high/{kept}": b"x"} == inbox(story)


@pytest.mark.parametrize(
    ("files", "priority", "status"),
    [
        ((("rows.csv", b"x"),), "high", 415),
        (((".jsonl", b"x"),), "high", 415),
        ((("a.jsonl", b"x"),), "urgent", 400),
        ((), "high", 415),
    ],
)
def test_what_is_refused_leaves_nothing_behind(
    story: Story, client: TestClient, files: Any, priority: str, status: int
) -> None:
    assert status == send(client, *files, priority=priority).status_code
    assert {} == inbox(story)


def test_an_upload_that_breaks_off_leaves_nothing_behind(story: Story, client: TestClient) -> None:
    head = b'--B\r\nContent-Disposition: form-data; name="priority"\r\n\r\nlow\r\n'
    head += b'--B\r\nContent-Disposition: form-data; name="files"; filename="a.jsonl"\r\n\r\n'

    def body() -> Iterator[bytes]:
        yield head + b"x" * 3_000_000

    kind = {"content-type": "multipart/form-data; boundary=B"}
    answer = client.post("/queue/upload", content=body(), headers=OURS | kind)

    assert 400 == answer.status_code
    assert {} == inbox(story)


def test_an_upload_larger_than_the_disk_is_refused_at_once(story: Story, client: TestClient) -> None:
    kind = {"content-type": "multipart/form-data; boundary=B", "content-length": str(10**18)}

    assert 507 == client.post("/queue/upload", content=b"", headers=OURS | kind).status_code


@given(content=st.binary(max_size=300), cuts=st.lists(st.integers(1, 40), min_size=1, max_size=40))
def test_a_body_is_split_alike_however_it_is_cut(content: bytes, cuts: list[int]) -> None:
    import asyncio

    mark = b"--bound"
    if b"\r\n" + mark in content:
        return
    head = b'\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n'
    body = mark + head + content + b"\r\n" + mark + b"--\r\n"
    taken = bytearray()
    ended = []

    async def take(part: Part, piece: bytes | None) -> None:
        if piece is None:
            ended.append(part)
        else:
            taken.extend(piece)

    async def stream() -> Any:
        at = 0
        for n in range(len(body)):
            size = cuts[n % len(cuts)]
            yield body[at : at + size]
            at += size
            if at >= len(body):
                return

    asyncio.run(forms.parts(_request(mark, stream()), take))

    assert content == bytes(taken)
    assert [Part("f", "a")] == ended


def test_a_body_without_its_end_is_an_error() -> None:
    import asyncio

    async def stream() -> Any:
        yield b'--B\r\nContent-Disposition: form-data; name="f"\r\n\r\nhalf'

    async def take(part: Part, piece: bytes | None) -> None:
        pass

    with pytest.raises(BadForm, match="ended early"):
        asyncio.run(forms.parts(_request(b"--B", stream()), take))


def test_temporary_names_are_hidden_from_the_inbox(story: Story, tmp_path: Path) -> None:
    from web.upload import Upload

    async def run(work: Any) -> None:
        work()

    upload = Upload(story.workspace, run)
    upload._priority = "low"
    upload._open("a.jsonl")
    names = [p.name for p in story.workspace.inbox.rglob("*.part")]
    upload.abandon()

    assert 1 == len(names) and names[0].startswith(".")
    assert {} == inbox(story)


def _request(mark: bytes, body: Any) -> Request:
    """A request with this body; `mark` is the boundary after its two dashes."""

    async def receive() -> dict[str, Any]:
        async for piece in body:
            return {"type": "http.request", "body": piece, "more_body": True}
        return {"type": "http.request", "body": b"", "more_body": False}

    kind = b"multipart/form-data; boundary=" + mark.removeprefix(b"--")
    return Request({"type": "http", "method": "POST", "headers": [(b"content-type", kind)]}, receive)
