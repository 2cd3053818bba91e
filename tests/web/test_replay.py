"""The replay page: at a fact what the live pages showed when the log ended there; nothing to press."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote_plus

import msgspec
import pytest
from starlette.testclient import TestClient

from core import timetravel
from events.types import AttemptStarted, PauseRequested, ProcessStarted, ServicePaused
from projections.fold import FOLDED, fold
from projections.moments import processes
from tests.web.looks import addresses, as_of, inside, main, without_buttons
from tests.web.shelves import rich
from tests.web.story import Story, sha
from web.app import create_app

LOOKED_AT = 24  # positions, evenly over the story
LIVE = {
    "/": ("state", "newest", "figures", "alerts", "loss-chart", "loss-table", "small-charts", "facts"),
    "/queue": ("queue-now", "queue-waiting", "queue-ended"),
    "/versions": ("versions-list",),
}  # fmt: skip


def shown(html: str, names: tuple[str, ...]) -> dict[str, str]:
    return {name: without_buttons(inside(html, name)) for name in names}


def running(html: str) -> list[tuple[str, str]]:
    """What the list of processes says."""
    return re.findall(r"<li data-up=[^>]*><span>(\w+)</span> <span[^>]*>([^<]*)</span>", html)


@dataclass
class Told:
    """A story that was watched while it happened: position → fragment → text."""

    story: Story
    client: TestClient
    seen: dict[int, dict[str, str]]
    pages: dict[int, dict[str, str]]
    processes: dict[int, list[tuple[str, str]]]


def beat(story: Story) -> None:
    """Every process that runs by the log is heard of, as it would be."""
    state = fold(story.log.read(types=FOLDED))
    alive = processes(state, 0)
    for role, one in state.health.processes.items():
        story.log.beat(role, one.pid, alive[role]["phase"] if role in alive else "gone")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """The rich story again, one fact a commit, with a browser open all the time."""
    model = rich(tmp_path_factory.mktemp("model"))
    facts = list(model.log.read())
    model.log.close()
    story = Story(tmp_path_factory.mktemp("told"))
    app = create_app(story.workspace)
    client = TestClient(app, base_url="http://localhost:8080")
    every = len(facts) // LOOKED_AT
    found = Told(story, client, {}, {}, {})
    for recorded in facts[1:]:
        seq = story.tell(recorded.event, actor=recorded.actor)
        if isinstance(recorded.event, ProcessStarted | AttemptStarted) or seq % every == 0:
            beat(story)
        if seq % every == 0 or seq == len(facts):
            pages = {path: client.get(path).text for path in LIVE}
            found.seen[seq] = {}
            for path, names in LIVE.items():
                found.seen[seq] |= shown(pages[path], names)
            found.processes[seq] = running(pages["/"])
            paths = addresses(app.state.monitor.present.state())
            found.pages[seq] = {path: main(client.get(path).text) for path in paths}
    yield found
    app.state.monitor.close()
    story.log.close()


def test_the_page_at_a_fact_is_what_the_live_pages_showed_when_the_log_ended_there(told: Told) -> None:
    names = tuple(name for found in LIVE.values() for name in found)

    assert len(told.seen) >= LOOKED_AT
    for seq, seen in told.seen.items():
        page = told.client.get(f"/replay?at={seq}").text
        replayed = shown(page, names)
        assert {} == {k: (seen[k], v) for k, v in replayed.items() if v != seen[k]}, seq
        assert told.processes[seq] == running(page)
    assert len({seen["state"] for seen in told.seen.values()}) > LOOKED_AT // 2
    assert any("training" in seen["state"] for seen in told.seen.values())


def test_every_page_as_of_a_fact_is_the_live_one_of_that_moment(told: Told) -> None:
    paths: set[str] = set()
    for seq, pages in told.pages.items():
        for path, wanted in pages.items():
            assert wanted == main(told.client.get(as_of(path, seq)).text), (seq, path)
        paths |= pages.keys()

    assert len(paths) > 15


def test_a_page_of_the_past_leads_to_the_past_and_asks_for_nothing(told: Told) -> None:
    seq = list(told.pages)[-3]
    for path in told.pages[seq]:
        page = told.client.get(as_of(path, seq)).text
        found = page[page.index("<main") :]
        moments = set(re.findall(r'href="(?:/|/(?:queue|runs|files|versions)[^"]*)"', found))

        assert 'method="post"' not in page and 'data-page=""' in page
        assert f'As of fact <a href="/events/{seq}">' in page
        present = {link for link in moments if f"at={seq}" not in link}
        assert present <= {f'href="{path.partition("?")[0]}"'}, path  # "This page now"


def test_nothing_on_the_page_can_be_asked_for(told: Told) -> None:
    for seq in (0, *list(told.seen)[::6]):
        page = told.client.get(f"/replay?at={seq}&vs=3").text
        found = page[page.index("<main") :]
        forms = re.findall(r"<form[^>]*>", found)

        assert {'<form class="filter" method="get" action="/replay">'} == set(forms)
        assert len(forms) == len(re.findall("<button", found)) >= 2
        assert 'data-page=""' in page
    assert 'method="post"' in told.client.get("/queue").text


def test_the_page_says_which_moment_it_is_and_where_to_go(told: Told) -> None:
    end = told.story.log.head()
    first, middle, last = (told.client.get(f"/replay?at={seq}").text for seq in (0, 40, end))

    assert "before the first fact" in first and "read-only" in first
    assert 'as of fact <a href="/events/40">#40</a>' in middle
    links = [set(re.findall(r'href="/replay\?at=(\d+)"', page)) for page in (first, middle, last)]
    assert [{"1", str(end)}, {"0", "39", "41", str(end)}, {"0", str(end - 1), str(end)}] == links
    assert re.search(rf'type="range" name="at" min="0" max="{end}" value="40"', middle)
    assert told.client.get("/replay").text == last


def test_a_comparison_goes_along_from_moment_to_moment(told: Told) -> None:
    page = told.client.get("/replay?at=40&vs=3").text
    ways = re.findall(r'<a class="button" href="(/replay[^"]+)"', page)
    slider = re.search(r'<form[^>]*>(?:(?!</form>).)*type="range".*?</form>', page, re.DOTALL)

    assert len(ways) >= 4
    assert all(re.fullmatch(r"/replay\?at=\d+&amp;vs=3", way) for way in ways)
    assert slider is not None and '<input type="hidden" name="vs" value="3">' in slider[0]
    assert 'name="vs" value="3"' not in told.client.get("/replay?at=40").text


def test_the_next_change_passes_over_facts_that_change_nothing(story: Story, client: TestClient) -> None:
    story.waits("a.jsonl")
    story.starts("a.jsonl")
    first = story.steps(1, 5)
    story.steps(6, 5)
    saved = story.saves(10)

    assert f'href="/replay?at={saved}">Next change (#{saved})' in client.get(f"/replay?at={first}").text
    assert "Next change" not in client.get(f"/replay?at={saved}").text
    assert f'href="/replay?at={first - 1}">Previous change (#{first - 1})' in client.get(
        f"/replay?at={saved}"
    ).text
    assert "Previous change (" not in client.get("/replay?at=1").text


def test_the_twin_is_the_replay_command(told: Told) -> None:
    log = told.story.log
    for seq in (0, 1, *list(told.seen)[::5]):
        wanted = msgspec.json.decode(msgspec.json.encode(timetravel.as_of(log, seq)))
        assert wanted == told.client.get(f"/replay.json?at={seq}").json()
    wanted = msgspec.json.decode(msgspec.json.encode(timetravel.difference(log, 60, 20)))

    assert wanted == told.client.get("/replay.json?at=60&vs=20").json()
    assert log.head() == told.client.get("/replay.json").json()["seq"]


def test_a_difference_names_the_fact_that_set_each_value(story: Story, client: TestClient) -> None:
    before = story.log.head()
    (asked,) = story.log.append(PauseRequested())
    (answered,) = story.log.append(ServicePaused(request=asked))
    story.waits("a.jsonl")
    end = story.log.head()
    page = client.get(f"/replay?at={before}&vs={end}").text
    row = next(row for row in re.findall("<tr>.*?</tr>", page) if "<code>control.mode</code>" in row)
    found = {c["path"]: c for c in client.get(f"/replay.json?at={before}&vs={end}").json()["changes"]}

    assert re.search(rf'&#34;running&#34;.*&#34;paused&#34;.*href="/events/{answered}"', row)
    assert ("running", "paused", answered) == tuple(
        found["control.mode"][key] for key in ("before", "after", "set_by")
    )
    assert end == found[f"queue.entries.{sha('a.jsonl')}"]["set_by"]
    assert "Nothing differs" in client.get(f"/replay?at={end}&vs={end}").text
    assert "What differs" not in client.get(f"/replay?at={end}&vs=").text


@pytest.mark.parametrize("path", ["/replay", "/replay.json"])
def test_a_moment_that_is_none_is_refused_in_a_sentence(client: TestClient, path: str) -> None:
    head = client.get("/replay.json").json()["seq"]
    words = client.get(f"{path}?at=soon")
    beyond = client.get(f"{path}?at={head + 1}")

    assert (400, 404) == (words.status_code, beyond.status_code)
    assert "neither a position" in words.text and f"the log ends at #{head}" in beyond.text
    for bad in ("-1", "1.5", "9" * 5000, "٣"):
        assert 400 == client.get(f"{path}?at={bad}").status_code
        assert 400 == client.get(f"{path}?at=1&vs={bad}").status_code
    assert 404 == client.get(f"{path}?at=1&vs={head + 1}").status_code


def test_a_time_is_a_moment_too(told: Told) -> None:
    assert told.story.log.head() == told.client.get("/replay.json?at=2999-01-01T00:00").json()["seq"]
    assert 0 == told.client.get("/replay.json?at=1999-01-01T00:00").json()["seq"]


def test_an_event_and_a_crash_lead_to_their_moments(told: Told) -> None:
    page = told.client.get("/events/30").text
    crash = told.client.get("/crashes.json").json()[0]

    assert 'href="/replay?at=29"' in page and 'href="/replay?at=30"' in page
    assert f'href="/replay?at={crash["state_before"]}"' in told.client.get("/crashes").text
    assert f'href="/replay?at={crash["state_before"]}"' in told.client.get("/runs/r5").text


def test_moments_too_far_apart_are_left_to_the_command(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.replay.FARTHEST", 5)
    near, far = (told.client.get(f"/replay.json?at={seq}&vs=4").status_code for seq in (9, 10))
    page = told.client.get("/replay?at=40&vs=4").text

    assert (200, 400) == (near, far)
    assert "evertrain replay --to 40 --diff 4" in page


def test_a_pinned_value_leads_from_change_to_change_and_stays_pinned(
    story: Story, client: TestClient
) -> None:
    key = story.waits("a.jsonl")
    queued = story.log.head()
    story.starts("a.jsonl")
    started = queued + 1
    story.steps(1, 5)
    ended = story.completes("a.jsonl", steps=5) - 1
    at = story.log.head()
    pin = f"queue.entries.{key}.state"
    page = client.get(f"/replay?at={started + 1}&pin={pin}&vs=2&from=1&to=4").text
    card = inside(page, "pin")
    found = client.get(f"/replay.json?at={started + 1}&pin={pin}").json()["pin"]

    assert ("processing", "waiting", started, queued) == tuple(
        found[key] for key in ("value", "before", "set_by", "previous")
    )
    assert story.log.get(found["next"]) is not None and ended <= found["next"] <= at
    for seq in (found["set_by"], found["previous"], found["next"]):
        link = f"/replay?at={seq}&amp;vs=2&amp;pin={pin}&amp;from=1&amp;to=4"
        assert f'href="{link}"' in card and f'href="/events/{seq}"' in card
    pairs = (("vs", "2"), ("pin", pin))
    kept = [f'<input type="hidden" name="{name}" value="{value}">' for name, value in pairs]
    slider = re.search(r'<form[^>]*>(?:(?!</form>).)*type="range".*?</form>', page, re.DOTALL)
    assert slider is not None and all(field in slider[0] for field in kept)
    ways = re.findall(r'<a class="button" href="(/replay\?at=[^"]+)"', page)
    assert ways and all(f"pin={pin}" in way or way.count("from=") for way in ways)


def test_any_value_is_found_from_the_names_of_the_projections(told: Told) -> None:
    seq = list(told.pages)[-1]
    page = told.client.get(f"/replay?at={seq}").text
    names = re.findall(r'href="(/replay\?at=\d+&amp;pin=[^"]+)"', inside(page, "pin"))
    seen = 0
    for name in names:
        inner = inside(told.client.get(name.replace("&amp;", "&")).text, "pin")
        for deeper in re.findall(r'<th[^>]*><a href="([^"]+)"', inner)[:12]:
            answer = told.client.get(deeper.replace("&amp;", "&"))
            seen += 1

            assert 200 == answer.status_code
            assert "<code>not there</code>" not in inside(answer.text, "pin").partition("Set by")[0]

    assert len(names) >= 10 and seen > 40


def test_a_value_that_is_not_there_and_a_name_that_is_none(told: Told) -> None:
    gone = told.client.get("/replay?at=40&pin=queue.entries.nothing.state")
    wrong = told.client.get("/replay?at=40&pin=quue")

    assert 200 == gone.status_code and "not there" in gone.text
    assert 400 == wrong.status_code and "a value begins with one of" in wrong.text


def test_a_path_of_a_comparison_can_be_pinned(told: Told) -> None:
    page = told.client.get("/replay?at=60&vs=20").text
    table = page[page.index('id="h-diff"') :]
    paths = re.findall(r'<a href="(/replay\?at=60&amp;vs=20&amp;pin=([^"]+))"><code>', table)

    assert len(paths) > 5
    for address, path in paths[::5]:
        found = told.client.get(address.replace("&amp;", "&").replace("/replay", "/replay.json")).json()
        setters = {change["path"]: change["set_by"] for change in found["changes"]}
        assert path.startswith("status.") or setters[unquote_plus(path)] == found["pin"]["set_by"]
