"""What the pages show, without any script running."""

import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from events.types import (
    AlertRaised,
    FileDuplicate,
    FileRejected,
    ProcessCrashed,
    StepsCompleted,
    TrainingFailed,
)
from tests.facts import specimen
from tests.web.story import Story, sha

PAGES = ("/", "/queue", "/versions", "/versions/v0001", "/audit", "/events/1", "/crashes")
TWINS = (
    "/index.json", "/queue.json", "/versions.json", "/versions/v0001.json", "/audit.json", "/events/1.json",
    "/crashes.json",
)  # fmt: skip


def text(html: str) -> str:
    """What a person reads."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


@pytest.mark.parametrize("path", PAGES)
def test_every_page_stands_by_itself(story: Story, client: TestClient, path: str) -> None:
    story.trained("a.jsonl", "v0001", "r1")
    answer = client.get(path)

    assert 200 == answer.status_code
    assert 1 == len(re.findall(r"<h1[ >]", answer.text))
    assert '<html lang="en">' in answer.text
    assert 'href="#main"' in answer.text
    assert not re.search(r"<script(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=|https?://", answer.text)


@pytest.mark.parametrize("path", PAGES[:1] + PAGES[1:3] + ("/audit", "/crashes"))
def test_every_page_also_works_in_an_empty_workspace(client: TestClient, path: str) -> None:
    assert 200 == client.get(path).status_code


@pytest.mark.parametrize("path", TWINS)
def test_every_page_has_a_twin_in_json(story: Story, client: TestClient, path: str) -> None:
    story.trained("a.jsonl", "v0001", "r1")
    story.tell(specimen(ProcessCrashed))
    answer = client.get(path)

    assert 200 == answer.status_code
    assert "application/json" == answer.headers["content-type"]
    assert answer.json()


def test_the_overview_shows_the_newest_loss_with_its_position_and_time(
    story: Story, client: TestClient
) -> None:
    story.waits("a.jsonl")
    story.starts("a.jsonl")
    seq = story.steps(1, 3, loss=4.25)
    recorded = story.log.get(seq)
    page = client.get("/").text
    found = re.search(r'id="loss" data-seq="(\d+)" data-ts="(\d+)">([^<]+)<', page)

    assert recorded is not None and found is not None
    assert (str(seq), str(recorded.at // 1000), "4.250") == found.groups()
    assert "step 3 of 100" in text(page)


def test_a_chart_is_drawn_by_the_server_and_says_its_trend(story: Story, client: TestClient) -> None:
    story.trained("a.jsonl", "v0001", "r1")
    page = client.get("/").text
    label = re.search(r'role="img" aria-label="(Training loss[^"]+)"', page)

    assert label is not None
    assert "fell to" in label.group(1) and "validation" in label.group(1)
    assert re.search(r'class="line" d="M\d+ \d+l', page)
    assert "Table of values" in page and '<th scope="row"' in page


def test_the_mass_of_penalised_tokens_has_a_chart_only_where_it_was_measured(
    story: Story, client: TestClient
) -> None:
    story.trained("a.jsonl", "v0001", "r1")
    without = client.get("/").text
    columns: dict[str, list[float | int | None]] = {"loss": [2.0, 1.9], "penalty_mass": [0.02, 0.01]}
    steps = StepsCompleted(run="r1", attempt=1, first_step=1001, first_global_step=1001, n=2, columns=columns)
    story.tell(steps, actor="trainer")

    assert 'id="chart-penalty_mass"' not in without
    assert 'id="chart-penalty_mass"' in client.get("/").text


def test_a_new_run_without_a_step_shows_the_whole_history(story: Story, client: TestClient) -> None:
    story.trained("a.jsonl", "v0001", "r1")
    story.waits("b.jsonl")
    story.starts("b.jsonl", "r2", at=100)

    assert "steps 1 to 100" in client.get("/").text


def test_what_cannot_be_known_is_a_dash_and_never_a_zero(client: TestClient) -> None:
    page = client.get("/").text
    document = client.get("/index.json").json()

    assert ">–</strong>" in page
    assert "no GPU visible" in page
    assert document["loss"] is None and document["validation_loss"] is None


def test_a_loss_that_is_not_finite_reads_as_unknown(story: Story, client: TestClient) -> None:
    story.waits("a.jsonl")
    story.starts("a.jsonl")
    story.steps(1, 2, loss=float("nan"))

    assert client.get("/index.json").json()["loss"] is None
    assert 200 == client.get("/").status_code


def test_alerts_are_on_the_overview_with_a_link_to_their_fact(story: Story, client: TestClient) -> None:
    seq = story.tell(AlertRaised(severity="warning", type="overfitting", detail="the gap widens"))
    page = client.get("/").text

    assert f'<a href="/events/{seq}">overfitting</a> the gap widens' in page


def test_the_queue_shows_waiting_files_by_priority_and_how_others_ended(
    story: Story, client: TestClient
) -> None:
    for name, priority in (("late.jsonl", "low"), ("soon.jsonl", "high"), ("usual.jsonl", "normal")):
        story.waits(name, priority)
    story.waits("bad.jsonl", "high")
    story.tell(FileRejected(sha256=sha("bad.jsonl"), format="text", rows=3, accepted_rows=0, dropped_rows=3,
                            counts={"not_json": 3}, reason="no usable row"))  # fmt: skip
    story.tell(FileDuplicate(sha256=sha("soon.jsonl"), name="copy.jsonl", original="copy.jsonl",
                             same_as="soon.jsonl", size_bytes=1, source_inode=2,
                             source_mtime_ns=2))  # fmt: skip
    items: list[dict[str, Any]] = client.get("/queue.json").json()
    page = client.get("/queue").text

    known = {item["file"]: (item["state"], item["priority"], item["reason"]) for item in items}
    assert ("duplicate", "high", "the same bytes as soon.jsonl") == known["copy.jsonl"]
    assert ("rejected", "high", "no usable row") == known["bad.jsonl"]
    assert page.index("soon.jsonl") < page.index("usual.jsonl") < page.index("late.jsonl")
    assert 'aria-label="Retry bad.jsonl"' in page
    assert "1 duplicate set aside" in page


def test_the_queue_document_has_the_keys_of_the_contract(story: Story, client: TestClient) -> None:
    story.waits("a.jsonl", "high", rows=7)

    assert [
        {
            "file": "a.jsonl", "sha256": sha("a.jsonl"), "priority": "high", "state": "waiting", "rows": 7,
            "trainable_tokens": 280, "attempts": 0, "position": 1, "reason": None,
        }
    ] == client.get("/queue.json").json()  # fmt: skip


def test_a_version_shows_where_it_came_from(story: Story, client: TestClient) -> None:
    story.trained("a.jsonl", "v0001", "r1")
    document = client.get("/versions/v0001.json").json()
    page = text(client.get("/versions/v0001").text)

    (listed,) = client.get("/versions.json").json()
    assert listed == {key: document[key] for key in listed}
    assert document["current"] and "v0001" == document["id"]
    assert sha("mv0001") in page and sha("head") in page
    assert 404 == client.get("/versions/v0002").status_code


def test_an_event_shows_its_payload_its_neighbours_and_its_effects(story: Story, client: TestClient) -> None:
    story.waits("a.jsonl")
    story.starts("a.jsonl")
    first, second, third = story.steps(1, 1), story.steps(2, 1), story.steps(3, 1)
    effect = story.log.append(AlertRaised(severity="info", type="x", detail="y"), causation=second)[0]
    document = client.get(f"/events/{second}.json").json()
    page = client.get(f"/events/{second}").text

    assert (first, third, [effect]) == (document["previous"], document["next"], document["effects"])
    assert "StepsCompleted" == document["type"] and 2 == document["data"]["first_step"]
    assert "first_global_step" in page
    assert f'href="/events/{effect}"' in page
    assert [404, 404] == [client.get(f"/events/{bad}").status_code for bad in ("999999", "x")]


def test_names_from_outside_are_shown_escaped(story: Story, client: TestClient) -> None:
    story.waits("<img src=x>\u202egnp.\x1b[31m.jsonl")
    for path in ("/queue", "/", "/audit"):
        page = client.get(path).text

        assert "<img" not in page and "\u202e" not in page and "\x1b" not in page
        assert "&lt;img src=x&gt;\\u202egnp.\\x1b[31m.jsonl" in page


def test_a_failed_run_tells_its_reason(story: Story, client: TestClient) -> None:
    story.waits("a.jsonl")
    story.starts("a.jsonl")
    story.tell(TrainingFailed(run="r1", sha256=sha("a.jsonl"), step=0, global_step=0, checkpoint=None,
                              reason="the loss was not finite", attempts=3))  # fmt: skip

    assert "the loss was not finite" in client.get("/queue").text
    assert "the loss was not finite" in client.get("/").text


def test_assets_may_be_kept_for_ever_under_the_name_of_their_content(client: TestClient) -> None:
    found = re.findall(r'(?:href|src)="(/static/[^"]+)"', client.get("/").text)
    answers = [client.get(path) for path in found]

    assert 3 == len(found)
    assert all(200 == a.status_code and "immutable" in a.headers["cache-control"] for a in answers)
    assert 404 == client.get("/static/0/live.js").status_code
    assert "no-store" == client.get("/").headers["cache-control"]


def test_the_old_address_leads_to_the_overview(client: TestClient) -> None:
    answer = client.get("/live_monitor_ui_v2.html")

    assert (308, "/") == (answer.status_code, answer.headers["location"])


def test_a_long_run_is_charted_from_few_columns(story: Story, client: TestClient) -> None:
    story.waits("a.jsonl")
    story.starts("a.jsonl", planned=20_000)
    for first in range(1, 10_001, 500):
        story.steps(first, 500)
    story.steps(10_001, 1, loss=99.0)
    page = client.get("/").text

    assert "highest 99.00" in page
    assert len(page) < 60_000


def test_unused_types_are_named_in_the_filter(client: TestClient) -> None:
    assert f"<option>{StepsCompleted.__name__}</option>" in client.get("/audit").text
