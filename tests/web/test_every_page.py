"""What holds for every page there is, found by walking over the addresses: none can be forgotten."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

from tests.web.shelves import rich
from tests.web.story import Story, sha
from web.app import ROUTES, create_app

HOSTILE = "<img src=x>\u202egnp.\x1b[31m\n'\".jsonl"
SHOWN = "&lt;img src=x&gt;\\u202egnp.\\x1b[31m\\x0a"

#: Addresses that are no pages: the stream, health, an old name, an export, and what the browser keeps.
NO_PAGES = ("/live", "/healthz", "/live_monitor_ui_v2.html", "/audit.jsonl", "/static/{version}/{name}")
#: What an address with a name in it is tried with.
FILLED = {
    "/runs/{id}": "/runs/r5", "/files/{sha256}": f"/files/{sha(HOSTILE)}",
    "/versions/{id}": "/versions/v0001",
    "/versions/{id}/restore": "/versions/v0003/restore", "/versions/diff": "/versions/diff?a=v0003&b=v0004",
    "/events/{seq}": "/events/9", "/crashes/{id}/before.json": "/crashes/CRASH/before.json",
    "/versions/diff.json": "/versions/diff.json?a=v0003&b=v0004",
}  # fmt: skip
MISSING = (
    "/runs/nothing", "/files/" + "0" * 64, "/versions/v9999", "/versions/v9999/restore", "/events/999999",
    "/versions/diff?a=v9999&b=v0001", "/versions/diff?a=v0001&b=v9999", "/crashes/c1/before.json",
    "/runs/nothing.json", "/files/x.json", "/versions/v9999.json", "/versions/v9999/restore.json",
)  # fmt: skip


def reads() -> list[str]:
    """The addresses of GET, as they are written."""
    routes = [route for route in ROUTES if isinstance(route, Route)]
    return [route.path for route in routes if "GET" in (route.methods or ()) and route.path not in NO_PAGES]


PAGES = [path for path in reads() if not path.endswith(".json")]
TWINS = [path for path in reads() if path.endswith(".json")]


def filled(path: str, client: TestClient) -> str:
    """A real address of the rich story."""
    plain = path.removesuffix(".json")
    address = FILLED.get(path) or (FILLED[plain] + ".json" if plain in FILLED and plain != path else path)
    assert "{" not in address, f"say in FILLED what to try {path} with"
    if "CRASH" in address:
        address = address.replace("CRASH", client.get("/crashes.json").json()[0]["id"])
    return address


def text(html: str) -> str:
    """What a person reads."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A browser on something of everything, with a name meant to harm; only looked at."""
    story = rich(tmp_path_factory.mktemp("rich"), HOSTILE)
    app = create_app(story.workspace)
    yield TestClient(app, base_url="http://localhost:8080", follow_redirects=False)
    app.state.monitor.close()
    story.log.close()


def test_every_page_has_a_twin() -> None:
    wanted = {("/index" if path == "/" else path) + ".json" for path in PAGES}

    assert len(PAGES) >= 15
    assert set() == wanted - set(TWINS)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_stands_by_itself_and_shows_hostile_names_as_text(full: TestClient, path: str) -> None:
    answer = full.get(filled(path, full))

    assert 200 == answer.status_code
    assert 1 == len(re.findall(r"<h1[ >]", answer.text))
    assert 'href="#main"' in answer.text
    assert not re.search(r"<script(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=|https?://", answer.text)
    assert "<img" not in answer.text and "\u202e" not in answer.text and "\x1b" not in answer.text
    ids = re.findall(r'\sid="([^"]+)"', answer.text)
    assert sorted(set(ids)) == sorted(ids)


NAMING = (
    "/queue", "/runs", "/files/{sha256}", "/versions", "/versions/{id}", "/audit", "/events/{seq}",
)  # fmt: skip


@pytest.mark.parametrize("path", NAMING)
def test_a_hostile_name_is_legible_where_files_are_named(full: TestClient, path: str) -> None:
    address = "/audit?type=FileReceived" if path == "/audit" else filled(path, full)

    assert SHOWN in full.get(address).text


@pytest.mark.parametrize("path", TWINS)
def test_a_twin_is_json(full: TestClient, path: str) -> None:
    answer = full.get(filled(path, full))

    assert 200 == answer.status_code
    assert "application/json" == answer.headers["content-type"]
    assert answer.json()


@pytest.mark.parametrize("path", MISSING)
def test_what_is_not_there_is_said_in_a_sentence(full: TestClient, path: str) -> None:
    answer = full.get(path)

    assert 404 == answer.status_code
    assert re.search(r"(There is no|was ever received|The log holds no) ?[\w #.]*", text(answer.text))


@pytest.mark.parametrize("path", [path for path in reads() if path not in FILLED and "{" not in path])
def test_a_page_also_works_in_an_empty_workspace(client: TestClient, path: str) -> None:
    assert 200 == client.get(path).status_code


def test_every_page_is_reached_from_every_other(client: TestClient) -> None:
    page = client.get("/").text
    nav = page[page.index("<nav") : page.index("</nav>")]

    wanted = {path for path in PAGES if "{" not in path and path != "/versions/diff"}
    assert wanted == set(re.findall(r'href="([^"]+)"', nav))


def test_every_link_of_every_page_leads_somewhere(full: TestClient) -> None:
    found: dict[str, str] = {}
    for path in PAGES:
        address = filled(path, full)
        for link in re.findall(r'<a [^>]*href="([^"#]+)"', full.get(address).text):
            found.setdefault(link.replace("&amp;", "&"), address)
    broken = {link: page for link, page in found.items() if full.get(link).status_code != 200}

    assert len(found) > 100
    assert {} == broken


def test_a_page_of_an_empty_log_teaches_what_to_do(client: TestClient, story: Story) -> None:
    assert "evertrain add FILE" in client.get("/runs").text
    assert "Every file that completes makes one" in client.get("/versions").text
    assert "The first one is made once there is a version" in client.get("/backups").text
    assert "Not measured yet" in client.get("/disk").text


def test_a_page_stays_small(full: TestClient) -> None:
    sizes = {path: len(full.get(filled(path, full)).content) for path in PAGES}

    assert {} == {path: size for path, size in sizes.items() if size > 60_000}


@pytest.mark.parametrize("many", [300])
def test_lists_are_cut_and_say_so(tmp_path: Path, many: int) -> None:
    story = Story(tmp_path)
    for n in range(many):
        story.waits(f"{n}.jsonl")
        story.starts(f"{n}.jsonl", f"r{n}", 1, n)
        story.completes(f"{n}.jsonl", f"v{n + 1:04d}", f"r{n}", 1, n, f"v{n:04d}" if n else None)
    app = create_app(story.workspace)
    client = TestClient(app, base_url="http://localhost:8080")
    runs, address = [], "/runs.json"
    while address:
        page = client.get(address).json()
        runs += [run["id"] for run in page["runs"]]
        address = f"/runs.json?before={page['older']}" if page["older"] else ""
    versions = client.get("/versions").text
    app.state.monitor.close()
    story.log.close()

    assert [f"r{n}" for n in reversed(range(many))] == runs
    assert "The newest 100 of 300" in versions
