"""Who is answered: this machine's own pages, and nobody else's."""

import pytest
from starlette.testclient import TestClient

from tests.web.story import Story
from web.app import ROUTES
from web.guard import HEADERS

READS = ("/", "/index.json", "/queue", "/audit", "/live", "/healthz", "/static/x/live.js", "/nowhere")
WRITES = tuple(route.path for route in ROUTES if "POST" in (getattr(route, "methods", None) or ()))
#: Addresses that also answer a look: the page before the deed.
ASKING = tuple(route.path for route in ROUTES if "GET" in (getattr(route, "methods", None) or ()))


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "localhost.evil.example", "evil.example:8080", "localhost:8080@evil", "",
        "localhost:", "localhost:8080:80", "127.0.0.1.evil.example", "0.0.0.0", "[::2]",
        "localhost, evil.example",
    ],
)  # fmt: skip
def test_a_foreign_host_gets_no_answer_from_any_address(client: TestClient, host: str) -> None:
    for path in READS:
        answer = client.get(path, headers={"host": host})

        assert 400 == answer.status_code, path
        assert HEADERS["content-security-policy"] == answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "[::1]:8080", "localhost:9"]
)
def test_this_machine_is_answered_under_each_of_its_names(client: TestClient, host: str) -> None:
    assert 200 == client.get("/healthz", headers={"host": host}).status_code


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": "http://localhost:8080"},
        {"origin": "http://evil.example"},
        {"origin": "http://localhost:9999"},
        {"origin": "null"},
        {"referer": "http://evil.example/localhost:8080"},
        {},
    ],
)
def test_a_form_from_elsewhere_changes_nothing(
    story: Story, client: TestClient, headers: dict[str, str]
) -> None:
    before = story.log.head()
    answers = {client.post(path, data={"sha256": "x"}, headers=headers).status_code for path in WRITES}

    assert len(WRITES) >= 8
    assert {403} == answers
    assert before == story.log.head()


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "same-origin"},
        {"origin": "http://localhost:8080"},
        {"referer": "http://localhost:8080/queue"},
        {"x-requested-with": "curl"},
    ],
)
def test_our_own_form_is_heard(story: Story, client: TestClient, headers: dict[str, str]) -> None:
    before = story.log.head()

    assert 303 == client.post("/pause", data={"seq": str(before)}, headers=headers).status_code
    assert before + 1 == story.log.head()


def test_looking_never_changes_anything(story: Story, client: TestClient) -> None:
    before = story.log.head()
    only = [path for path in WRITES if path not in ASKING]

    assert len(only) >= 12
    assert {405} == {client.get(path).status_code for path in only}
    assert {405} == {client.head(path).status_code for path in only}
    assert {404} == {client.get(path).status_code for path in WRITES if path in ASKING}
    assert before == story.log.head()


@pytest.mark.parametrize("path", ["/index.json", "/live", "/queue.json", "/healthz"])
def test_another_site_cannot_read_our_numbers(client: TestClient, path: str) -> None:
    opened = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}

    assert 403 == client.get(path, headers=opened).status_code
    assert 403 == client.get(path, headers={"origin": "http://evil.example"}).status_code


def test_a_link_from_another_site_opens_a_page_but_no_frame(client: TestClient) -> None:
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}

    assert 200 == client.get("/", headers=link).status_code
    assert 403 == client.get("/", headers=link | {"sec-fetch-dest": "iframe"}).status_code


@pytest.mark.parametrize("path", [*READS[:4], "/healthz", "/nowhere", "/events/0"])
def test_every_answer_carries_the_strict_headers(client: TestClient, path: str) -> None:
    headers = client.get(path).headers

    assert all(value == headers[name] for name, value in HEADERS.items())
    assert "unsafe" not in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers


def test_an_error_of_ours_shows_no_trace(story: Story, client: TestClient) -> None:
    with TestClient(client.app, base_url="http://localhost", raise_server_exceptions=False) as browser:
        story.log.reader.execute("PRAGMA query_only=0")
        story.log.reader.execute("ALTER TABLE heartbeat RENAME TO gone")
        answer = browser.get("/")
        story.log.reader.execute("ALTER TABLE gone RENAME TO heartbeat")

    assert 500 == answer.status_code
    assert "Traceback" not in answer.text and "gone" not in answer.text
    assert HEADERS["content-security-policy"] == answer.headers["content-security-policy"]
