"""The audit: every filter against a plain look at all facts."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl

import msgspec
import pytest
from starlette.testclient import TestClient

from events.types import (
    AlertRaised,
    PauseRequested,
    ResourcesSampled,
    ResumeRequested,
    ServicePaused,
    StepsCompleted,
    Stored,
)
from projections import documents
from projections.fold import NUMERIC, fold
from tests.facts import specimen
from tests.web.story import Story, sha
from web import audit
from web.app import create_app


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """A few hundred facts of three runs, by several actors; only looked at."""
    story = Story(tmp_path_factory.mktemp("long"))
    for n in range(3):
        story.trained(f"f{n}.jsonl", f"v000{n + 1}", f"r{n}", 200, n * 200)
        for _ in range(30):
            story.tell(PauseRequested(), actor="cli")
            story.tell(ResumeRequested(), actor="web")
            story.log.append(PauseRequested(), actor="daemon", causation=3, correlation=2)
    yield story
    story.log.close()


@pytest.fixture
def looking(long: Story) -> Iterator[TestClient]:
    """A browser on that long history."""
    app = create_app(long.workspace)
    yield TestClient(app, base_url="http://localhost:8080")
    app.state.monitor.close()


FILTERS: list[dict[str, Any]] = [
    {},
    {"steps": True},
    {"type": "PauseRequested"},
    {"type": "StepsCompleted"},
    {"actor": "cli"},
    {"actor": "trainer", "steps": True},
    {"stream": "run/r1", "steps": True},
    {"stream": "run/r1"},
    {"stream": "control", "actor": "web"},
    {"type": "PauseRequested", "actor": "cli"},
    {"type": "PauseRequested", "actor": "nobody"},
    {"run": "r1"},
    {"run": "r1", "stream": "control"},
    {"about": ("run/r0", "run/r2"), "steps": True},
    {"about": ("run/r0", "run/r2"), "actor": "trainer"},
    {"text": "R1"},
    {"text": "no such words"},
    {"text": "%"},
    {"text": "f1.jsonl", "type": "FileReceived"},
    {"correlation": 2, "steps": True},
    {"correlation": 2, "type": "TrainingStarted"},
]


def expected(story: Story, wanted: audit.Filter) -> list[int]:
    return [r.seq for r in map(story.log.get, range(story.log.head(), 0, -1)) if fits(r, wanted)]


def fits(recorded: Stored, wanted: audit.Filter) -> bool:
    named = [{wanted.stream}, {f"run/{wanted.run}"}, set(wanted.about or ())]
    asked = [wanted.stream, wanted.run, wanted.about]
    stored = msgspec.json.encode(recorded.event).decode().lower()
    return (
        (not wanted.type or type(recorded.event).__name__ == wanted.type)
        and bool(wanted.type or wanted.steps or not isinstance(recorded.event, NUMERIC))
        and (not wanted.actor or recorded.actor == wanted.actor)
        and all(recorded.stream in names for names, given in zip(named, asked, strict=True) if given)
        and (wanted.correlation is None or wanted.correlation in (recorded.seq, recorded.correlation))
        and (not wanted.text or wanted.text.lower() in stored)
    )


@pytest.mark.parametrize("given", FILTERS)
def test_walking_down_meets_every_match_once_and_walking_up_meets_them_again(
    long: Story, given: dict[str, Any]
) -> None:
    everything = expected(long, audit.Filter(**given))
    down, before = [], None
    while True:
        found = audit.search(long.log, audit.Filter(**given, before=before))
        down.append([fact.seq for fact in found.facts])
        if found.older is None:
            break
        before = found.older
    up, after = [], audit.Filter(**given).after
    last = [fact.seq for fact in found.facts]
    while found.newer is not None:
        after = found.newer
        found = audit.search(long.log, audit.Filter(**given, after=after))
        up.append([fact.seq for fact in found.facts])
    back = [seq for page in reversed(up) for seq in page] + last

    assert everything == [seq for page in down for seq in page]
    assert everything == back
    assert (len(everything), False) == (found.count, found.capped)


def test_time_bounds_are_positions_of_the_log(long: Story) -> None:
    middle = long.log.get(long.log.head() // 2)
    assert middle is not None
    since = audit.search(long.log, audit.Filter(steps=True, since=middle.at))
    until = audit.search(long.log, audit.Filter(steps=True, until=middle.at))

    assert all(fact.at >= middle.at for fact in since.facts)
    assert all(fact.at <= middle.at for fact in until.facts)
    assert middle.seq in [fact.seq for fact in until.facts]


def test_a_count_stops_where_it_would_get_slow(long: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "COUNTED", 40)

    for given in FILTERS:
        found = audit.search(long.log, audit.Filter(**given))
        total = len(expected(long, audit.Filter(**given)))
        assert (min(total, 40), total > 40) == (found.count, found.capped)


def test_a_search_no_index_answers_says_how_far_it_looked(
    long: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "STRETCH", 25)
    wanted = {"stream": "control", "actor": "nobody"}
    found = audit.search(long.log, audit.Filter(**wanted))
    asked = expected(long, audit.Filter(stream="control"))

    assert [] == found.facts and found.capped
    assert asked[24] == found.searched_to
    further = audit.search(long.log, audit.Filter(**wanted, before=found.searched_to))
    assert asked[49] == further.searched_to


def test_without_a_stream_every_search_is_answered_by_an_index(
    long: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "STRETCH", 1)
    found = audit.search(long.log, audit.Filter(type="PauseRequested", actor="nobody"))

    assert ([], 0, False, None) == (found.facts, found.count, found.capped, found.searched_to)
    for given in (audit.Filter(actor="cli"), audit.Filter(actor="cli", steps=True), audit.Filter()):
        assert given.query.rest is None
        for where, values in given.query.paths:
            plan = long.log.reader.execute(
                f"EXPLAIN QUERY PLAN SELECT seq FROM event WHERE {where} ORDER BY seq DESC", values
            ).fetchall()
            assert "COVERING INDEX" in plan[0][3] and len(plan) == 1


def test_the_page_keeps_the_filter_in_its_links(looking: TestClient) -> None:
    page = looking.get("/audit?type=PauseRequested&actor=cli").text

    assert "<option selected>PauseRequested</option>" in page
    assert "/audit?type=PauseRequested&amp;actor=cli&amp;before=" in page
    assert "/audit.json?type=PauseRequested&amp;actor=cli" in page


@pytest.mark.parametrize(
    "query", ["before=x", "after=-1", "since=yesterday", "type=Nothing", "before=" + "9" * 30]
)
def test_a_filter_that_cannot_be_read_is_explained(client: TestClient, query: str) -> None:
    answer = client.get(f"/audit?{query}")

    assert 400 == answer.status_code
    assert query.partition("=")[0] in answer.text


def test_steps_are_left_out_unless_asked_for(looking: TestClient) -> None:
    quiet = looking.get("/audit.json").json()["events"]
    loud = looking.get("/audit.json?type=StepsCompleted").json()["events"]

    assert "StepsCompleted" not in {event["type"] for event in quiet}
    assert {"StepsCompleted"} == {event["type"] for event in loud}
    assert {"seq", "at", "actor", "stream", "type", "causation", "correlation", "data"} == set(loud[0])


def test_a_text_is_looked_for_as_it_is_stored(long: Story) -> None:
    """Quotes and backslashes as JSON has them, the wildcards of SQL as themselves."""
    odd = 'a "quoted_100%" \\ näme'
    (seq,) = long.log.append(AlertRaised(severity="info", type="test", detail=odd), actor="web")

    for text in (odd, "quoted_100%", "\\ NäME", '"QUOTED'):
        assert [seq] == [fact.seq for fact in audit.search(long.log, audit.Filter(text=text)).facts]
    assert [] == audit.search(long.log, audit.Filter(text="quoted-100")).facts


def test_a_search_for_words_reads_a_bounded_number_of_payloads(
    long: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "TEXT_STRETCH", 30)
    quiet = expected(long, audit.Filter())
    found = audit.search(long.log, audit.Filter(text="no such words"))

    assert ([], quiet[29], True) == (found.facts, found.searched_to, found.capped)


def test_a_file_is_named_by_its_name_or_the_beginning_of_its_hash(looking: TestClient) -> None:
    by_name = looking.get("/audit.jsonl?file=f1.jsonl&steps=1").text
    by_hash = looking.get(f"/audit.jsonl?file={sha('f1.jsonl')[:8]}&steps=1").text
    streams = {json.loads(line)["stream"] for line in by_name.splitlines()}

    assert {f"file/{sha('f1.jsonl')}", "run/r1", "version/v0002"} == streams
    assert by_name == by_hash
    assert 400 == looking.get("/audit?file=nothing.jsonl").status_code


@pytest.mark.parametrize("wanted", [{}, {"actor": "trainer"}, {"type": "StepsCompleted"}, {"run": "r1"}])
def test_a_text_costs_a_bounded_number_of_payloads(
    long: Story, monkeypatch: pytest.MonkeyPatch, wanted: dict[str, str]
) -> None:
    monkeypatch.setattr(audit, "TEXT_STRETCH", 20)
    said = list[str]()
    long.log.reader.set_trace_callback(said.append)
    audit.search(long.log, audit.Filter(text="no such words", **wanted))  # type: ignore[arg-type]
    long.log.reader.set_trace_callback(None)
    reading = [statement.partition("json_each('")[2] for statement in said if "data LIKE" in statement]
    payloads = sum(len(json.loads(places.partition("'")[0])) for places in reading)

    assert 0 < payloads <= 20


@pytest.mark.parametrize("query", ["", "steps=1", "text=r1&actor=trainer", "run=r2&steps=1", "text=nowhere"])
def test_the_export_holds_every_match_once_oldest_first(
    long: Story, looking: TestClient, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "PIECE", 7)
    monkeypatch.setattr(audit, "STRETCH", 40)
    wanted = audit.parse(dict(parse_qsl(query)), fold(long.log.read()))
    answer = looking.get(f"/audit.jsonl?{query}")
    events = [json.loads(line) for line in answer.text.splitlines()]

    assert expected(long, wanted)[::-1] == [event["seq"] for event in events]
    assert [documents.event(fact) for fact in audit.search(long.log, wanted).facts][:1] == events[-1:]
    assert "attachment" in answer.headers["content-disposition"]


def test_a_fact_of_many_steps_is_shown_step_by_step(long: Story, looking: TestClient) -> None:
    fact = long.log.newest(StepsCompleted)
    assert fact is not None and isinstance(fact.event, StepsCompleted)
    steps = documents.steps(fact.event)
    page = looking.get(f"/events/{fact.seq}").text

    assert fact.event.n == len(steps)
    assert fact.event.columns["loss"] == [step["loss"] for step in steps]
    for step in steps:
        assert f'<td class="num">{step["global_step"]}</td>' in page
    assert "Step by step" not in looking.get("/events/1").text


def test_an_event_shows_what_led_to_it_what_it_changed_and_what_it_led_to(
    story: Story, client: TestClient
) -> None:
    (asked,) = story.log.append(PauseRequested())
    (answered,) = story.log.append(ServicePaused(request=asked), causation=asked)
    (told,) = story.log.append(AlertRaised(severity="info", type="x", detail="y"), causation=answered)
    page = client.get(f"/events/{told}").text
    middle = client.get(f"/events/{answered}").text
    found = client.get(f"/events/{told}.json").json()

    assert [answered, asked] == found["causes"]
    assert ["health.alerts.x"] == [c["path"] for c in found["changed"] if c["path"].startswith("health")]
    led = page[page.index('id="h-causes"') : page.index('id="h-effects"')]
    assert led.index(f'href="/events/{answered}"') < led.index(f'href="/events/{asked}"')
    assert f"/replay?at={told}&amp;pin=health.alerts.x" in page
    assert f'href="/events/{told}"' in middle[middle.index('id="h-effects"') :]
    assert "&#34;running&#34;" in middle and "&#34;paused&#34;" in middle
    assert "<code>status.loss</code>" in client.get(f"/events/{story.steps(1, 2)}").text
    sampled = story.tell(specimen(ResourcesSampled))
    assert "No value of any projection" in client.get(f"/events/{sampled}").text


def test_looking_further_looks_much_further(
    story: Story, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    story.waits("needle.jsonl")
    for _ in range(60):
        story.tell(PauseRequested())
    monkeypatch.setattr("web.audit.TEXT_STRETCH", 5)
    first = client.get("/audit?text=needle").text
    further = re.search(r'<a class="button" href="([^"]+)">Look further', first)

    assert further is not None and "No fact matches back to #" in first
    assert "needle.jsonl" in client.get(further[1].replace("&amp;", "&")).text.partition("<tbody>")[2]
