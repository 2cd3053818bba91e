"""The stretch: a chart of some steps, at any position and zoom, is what a look at every step gives."""

import math
import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from db import rollups
from events.types import StepsCompleted
from tests.web.story import Story
from web.columns import COLUMNS
from web.stretch import SINGLE_STEPS, Stretch
from web.trail import Span

RUN_STEPS = 700


def tell(story: Story) -> Iterator[int]:
    """Runs one after another with a kill in some, a return to an earlier one, and values told apart."""
    at, doing = 0, 0
    for n in range(34):
        name, run = f"{n}.jsonl", f"r{n}"
        planned = RUN_STEPS if n != 30 else 3 * SINGLE_STEPS
        story.waits(name)
        story.starts(name, run, planned, at)
        pieces, attempt = list(range(1, planned + 1, 50)), 1
        while pieces:
            first, doing = pieces.pop(0), doing + 1
            yield story.steps(first, 50, run, at, loss=5 + math.sin(doing), attempt=attempt)
            if n % 9 == 4 and first == 401 and attempt == 1:
                pieces, attempt = list(range(201, planned + 1, 50)), 2
        if n == 31:
            story.steps(planned + 1, 3, run, at, loss=math.nan)
        at = at + planned if n != 20 else at - 4 * RUN_STEPS


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Story, list[int]]]:
    story = Story(tmp_path_factory.mktemp("told"))
    yield story, list(tell(story))
    story.log.close()


Steps = list[tuple[int, float]]


def looked_at(story: Story, run: str | None, to: int, width: int, span: Span) -> list[Any]:
    """The columns and what was done again, step by step from the first fact."""
    columns: dict[int, Steps] = {}
    again: list[dict[int, Steps]] = []
    strand, furthest = None, 0
    for fact in story.log.read(to=to, types=(StepsCompleted,)):
        e = fact.event
        assert isinstance(e, StepsCompleted)
        if run not in (None, e.run):
            continue
        if (e.run, e.attempt) != strand and e.first_global_step <= furthest:
            moved = {b for b, steps in columns.items() if steps[0][0] >= e.first_global_step}
            again += [{b: columns.pop(b) for b in sorted(moved)}] if moved else []
            furthest = e.first_global_step
        strand, furthest = (e.run, e.attempt), max(furthest, e.first_global_step + e.n - 1)
        for n, value in enumerate(e.columns["loss"]):
            step = e.first_global_step + n
            if span.first <= step <= span.last:
                assert value is not None
                columns.setdefault(step // width, []).append((step, value))
    return [[column(found[b]) for b in sorted(found)] for found in (*again, columns)]


def column(steps: Steps) -> Any:
    finite = [value for _, value in steps if math.isfinite(value)]
    return (
        max(step for step, _ in steps), len(finite), len(steps) - len(finite), pytest.approx(sum(finite)),
        min(finite, default=math.inf), max(finite, default=-math.inf), finite[-1] if finite else None,
    )  # fmt: skip


def drawn(found: Stretch) -> list[Any]:
    return [
        [(c.last_step, c.n, c.nonfinite, c.total, c.low, c.high, c.last) for c in part]
        for part in (*found.earlier("loss"), found.columns("loss"))
    ]


SPANS = ((1, 60), (2950, 3200), (3000, 3100), (10_000, 12_000), (2000, 2000 + 2 * SINGLE_STEPS), (1, 30_000))


@pytest.mark.parametrize("run", [None, "r4", "r13", "r30"])
@pytest.mark.parametrize("first, last", SPANS)
def test_a_stretch_is_what_a_look_at_every_step_gives(
    told: tuple[Story, list[int]], run: str | None, first: int, last: int
) -> None:
    story, places = told
    seen = 0
    for to in (None, *places[7::137], places[len(places) // 2]):
        found = Stretch(story.log, run, to, Span(first, last))
        assert found.span is not None
        wanted = looked_at(story, run, to or story.log.head(), found.width, found.span)

        assert wanted == drawn(found), (to, found.width)
        assert len(found.columns("loss")) <= COLUMNS + 2
        seen += len(found.columns("loss"))
    single = last - first < COLUMNS
    assert not single or 1 == found.width
    assert run is not None or seen > 50


def test_a_value_that_is_not_finite_is_counted_in_its_place(told: tuple[Story, list[int]]) -> None:
    story, _ = told
    whole = Stretch(story.log, "r31", None, Span(1, 10**9))
    last = whole.last_step
    found = Stretch(story.log, "r31", None, Span(last - 5, last)).columns("loss")

    assert [0, 0, 0, 1, 1, 1] == [c.nonfinite for c in found]
    assert [1, 1, 1, 0, 0, 0] == [c.n for c in found]


def test_a_page_zooms_in_to_the_single_step_and_out_again(story: Story, client: TestClient) -> None:
    story.waits("a.jsonl")
    story.starts("a.jsonl", planned=400)
    story.steps(1, 400)
    page = client.get("/runs/r1").text
    parts = [link.replace("&amp;", "&") for link in _links(page, "from=")]
    near = client.get(parts[1]).text

    assert ["/runs/r1?from=1&to=100", "/runs/r1?from=101&to=200"] == parts[:2]
    assert 'data-first="101" data-last="200"' in near
    wider, later = "/runs/r1?from=51&amp;to=250", "/runs/r1?from=151&amp;to=250"
    assert {"/runs/r1", wider, later} <= set(_links(near, ""))
    assert 'id="loss-chart"' in page and 'id="loss-chart"' not in near  # the live one would take its place
    while "Look closer" in page:
        nav = page[page.index("Look closer") :].partition("</nav>")[0]
        page = client.get(re.findall(r'href="([^"]*)"', nav)[-1].replace("&amp;", "&")).text
    assert 'aria-label="Training loss, steps 400 to 400' in page


def _links(page: str, part: str) -> list[str]:
    return [link for link in re.findall(r'href="(/runs/r1[^"]*)"', page) if part in link]


def test_the_columns_as_json_are_exact_and_of_any_position(story: Story, client: TestClient) -> None:
    story.waits("a.jsonl")
    story.starts("a.jsonl")
    then = story.steps(1, 10)
    story.validates(5, 3.5)
    story.steps(11, 10)
    found = client.get("/curves.json?run=r1&from=4&to=6").json()
    loss = found["metrics"]["loss"]["columns"]
    recorded = story.log.get(then)

    assert recorded is not None and isinstance(recorded.event, StepsCompleted)
    assert recorded.event.columns["loss"][3:6] == [c["last"] for c in loss] == [c["mean"] for c in loss]
    assert [(4, 4), (5, 5), (6, 6)] == [(c["first_step"], c["last_step"]) for c in loss]
    assert [{"step": 5, "loss": 3.5}] == found["validation"]
    assert (1, 20) == tuple(client.get("/curves.json?run=r1").json()[k] for k in ("from", "to"))
    assert (1, 10) == tuple(client.get(f"/curves.json?at={then}").json()[k] for k in ("from", "to"))
    assert 404 == client.get("/curves.json?run=nothing").status_code


def test_steps_of_another_run_are_not_said_to_be_untrained(story: Story, client: TestClient) -> None:
    story.waits("a.jsonl")
    story.starts("a.jsonl", planned=400)
    story.steps(1, 400)
    page = client.get("/runs/r1?from=600&to=700").text

    assert "another run may have made them" in page
    assert 'none of these steps</p>' in page and "no step yet" not in page


@pytest.mark.parametrize("query", ["from=x", "to=-1", "from=9&to=3", f"from={'9' * 30}", "to=1.5"])
def test_steps_that_are_none_are_refused_in_a_sentence(client: TestClient, query: str) -> None:
    for path in ("/", "/curves.json", "/replay"):
        answer = client.get(f"{path}?{query}")

        assert 400 == answer.status_code
        assert "step" in answer.text


@pytest.mark.parametrize("run", [None, "r1"])
@pytest.mark.parametrize("to", [None, 40])
def test_of_an_older_log_nothing_is_shown_before_it_is_folded(
    story: Story, run: str | None, to: int | None
) -> None:
    story.waits("1.jsonl")
    story.starts("1.jsonl", "r1", 700, 0)
    for first in range(1, 700, 50):
        story.steps(first, 50, "r1", 0)
    with story.log.transaction() as db:
        for table in ("strand", "history"):
            db.execute(f"DELETE FROM {table}")
        rollups.note_backfilled(db, 0)

    assert [] == Stretch(story.log, run, to, Span(1, 300)).columns("loss")
