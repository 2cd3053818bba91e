"""The audit: every filter against a plain look at all facts."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from events.types import PauseRequested, ResumeRequested
from projections.fold import NUMERIC
from tests.web.story import Story
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
]


def expected(story: Story, wanted: audit.Filter) -> list[int]:
    return [
        r.seq
        for r in story.log.read()
        if (not wanted.type or type(r.event).__name__ == wanted.type)
        and (wanted.type or wanted.steps or not isinstance(r.event, NUMERIC))
        and (not wanted.actor or r.actor == wanted.actor)
        and (not wanted.stream or r.stream == wanted.stream)
    ][::-1]


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
        for where, values in audit._ranges(given):
            plan = long.log.reader.execute(
                f"EXPLAIN QUERY PLAN SELECT seq {audit.PART} {where} ORDER BY seq DESC", (*values, 0, 99)
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
