"""What is kept, and the machine: what is shown, what is offered; asking leaves a request and an answer."""

import json
import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from events.types import (
    BackupRequested,
    CheckpointDeleted,
    CleanRequested,
    ConsolidateRequested,
    PinRequested,
    RequestRefused,
    ResourcesSampled,
    RestoreRequested,
    TrainingStarted,
    UnpinRequested,
    VersionPinned,
    VersionRestored,
)
from projections.disk import DAY_US
from tests.facts import specimen
from tests.web.shelves import Shelves, rich
from tests.web.story import Story, sha

MINUTE_US = 60_000_000


def text(html: str) -> str:
    """What a person reads."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def newest(story: Story) -> tuple[str, Any]:
    recorded = story.log.get(story.log.head())
    assert recorded is not None
    return recorded.actor, recorded.event


def form(html: str, action: str) -> dict[str, str]:
    """The hidden fields of the form with this action."""
    found = re.search(rf'<form[^>]*action="{action}".*?</form>', html, re.DOTALL)
    assert found is not None, f"no form for {action}"
    return dict(re.findall(r'name="(\w+)" value="([^"]*)"', found.group(0)))


ACTIONS = [
    ("/versions/v0001", "/versions/v0001/pin", {}, PinRequested(version="v0001"), "/versions/v0001"),
    ("/versions/v0001/restore", "/versions/v0001/restore", {}, RestoreRequested(version="v0001"),
     "/versions/v0001"),
    ("/versions", "/consolidate", {"average": "1"}, ConsolidateRequested(average=1), "/versions"),
    ("/backups", "/backups/now", {}, BackupRequested(), "/backups"),
    ("/disk", "/disk/clean", {}, CleanRequested(), "/disk"),
]  # fmt: skip


@pytest.fixture
def two(story: Story) -> Story:
    """Two versions, nothing under way."""
    story.trained("a.jsonl", "v0001", "r1", 20)
    story.trained("b.jsonl", "v0002", "r2", 20, 20, "v0001")
    return story


@pytest.mark.parametrize(("page", "path", "more", "fact", "to"), ACTIONS)
def test_a_form_on_its_page_appends_one_request_and_shows_it_with_its_answer(
    two: Story, client: TestClient, click: Any, page: str, path: str, more: dict[str, str], fact: Any, to: str
) -> None:
    fields = form(client.get(page).text, path) | more
    before = two.log.head()
    answers = [click(path, **fields) for _ in range(2)]  # a double click is one request
    waiting = text(client.get(to).text)
    two.tell(RequestRefused(request=two.log.head(), reason="the reason why not"))
    answered = text(client.get(to).text)

    assert str(before) == fields["seq"]
    assert [(303, to)] * 2 == [(a.status_code, a.headers["location"]) for a in answers]
    assert before + 2 == two.log.head()
    assert ("web", fact) == (lambda r: (r.actor, r.event))(two.log.get(before + 1))
    assert f"{type(fact).__name__}" in waiting and "waits for its answer" in waiting
    assert "RequestRefused" in answered and "the reason why not" in answered
    assert "waits for its answer" not in answered


def test_unpin_is_offered_for_a_pinned_version_alone(two: Story, client: TestClient, click: Any) -> None:
    asked = two.tell(PinRequested(version="v0001"), actor="cli")
    two.tell(VersionPinned(version="v0001", request=asked))
    page = client.get("/versions/v0001").text
    click("/versions/v0001/unpin", **form(page, "/versions/v0001/unpin"))

    assert 'action="/versions/v0001/pin"' not in page
    assert ("web", UnpinRequested(version="v0001")) == newest(two)
    assert "it is pinned" in text(page)


STALE = [
    ("/versions/v0001/restore", {}, RestoreRequested(version="v0001")),
    ("/versions/v0001/restore", {}, specimen(TrainingStarted, run="r3", sha256=sha("a.jsonl"))),
    ("/versions/v0001/pin", {}, PinRequested(version="v0001")),
    ("/versions/v0001/unpin", {}, PinRequested(version="v0001")),
    ("/consolidate", {"average": "1"}, ConsolidateRequested(average=1)),
    ("/backups/now", {}, BackupRequested()),
    ("/disk/clean", {}, CleanRequested()),
]  # fmt: skip


@pytest.mark.parametrize(("path", "more", "meanwhile"), STALE)
def test_a_page_out_of_date_changes_nothing_and_says_so(
    two: Story, click: Any, path: str, more: dict[str, str], meanwhile: Any
) -> None:
    shown = two.log.head()
    two.tell(meanwhile, actor="cli")
    before = two.log.head()
    answer = click(path, seq=str(shown), **more)

    assert 409 == answer.status_code
    assert before == two.log.head()
    assert "Nothing was changed" in answer.text and answer.text.count("<h1") == 1


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/versions/v9999/restore", {"seq": "1"}, 404), ("/versions/v9999/pin", {"seq": "1"}, 404),
        ("/versions/v9999/unpin", {"seq": "1"}, 404), ("/consolidate", {"average": "0"}, 400),
        ("/consolidate", {"average": "many"}, 400), ("/consolidate", {"average": "9" * 99}, 400),
        ("/consolidate", {"average": "000000001000"}, 400),
        ("/consolidate", {"average": "000000001" + "9" * 5000}, 400),
        ("/consolidate", {"average": "²"}, 400), ("/backups/now", {"seq": "x"}, 400),
    ],
)  # fmt: skip
def test_a_form_that_makes_no_sense_changes_nothing(
    two: Story, click: Any, path: str, fields: dict[str, str], status: int
) -> None:
    before = two.log.head()

    assert status == click(path, **fields).status_code
    assert before == two.log.head()


def test_a_restore_says_first_what_it_would_do(two: Story, client: TestClient) -> None:
    two.tell(CheckpointDeleted(path="models/current_model/checkpoint-20"))
    page = text(client.get("/versions/v0001/restore").text)
    preview = client.get("/versions/v0001/restore.json").json()

    assert ("v0002", 40, 20, "fresh", []) == tuple(
        preview[key] for key in ("from", "from_step", "to_step", "moments", "obstacles")
    )
    assert "v0002 → v0001" in page and "40 → 20" in page and "they begin anew" in page
    assert "Nothing is deleted" in page and "The queue stays as it is" in page


def test_a_restore_keeps_the_moments_where_they_still_exist(tmp_path: Any, look: Any) -> None:
    story = Shelves(tmp_path)
    story.trained("a.jsonl", "v0001", "r1", 20)
    story.trained("b.jsonl", "v0002", "r2", 20, 20, "v0001")
    preview = look(story).get("/versions/v0001/restore.json").json()

    assert ("kept", "models/current_model/checkpoint-20") == (preview["moments"], preview["checkpoint"])


def test_what_refuses_a_restore_now_stands_in_place_of_its_button(two: Story, client: TestClient) -> None:
    two.waits("c.jsonl")
    two.starts("c.jsonl", "r3", 10, 40)
    page = client.get("/versions/v0001/restore").text
    current = text(client.get("/versions/v0002/restore").text)

    assert "c.jsonl is being trained" in text(page)
    assert 'method="post"' not in page
    assert "v0002 is what the model is already" in current


def test_the_tree_shows_branches_releases_pins_and_what_was_deleted(tmp_path: Any, look: Any) -> None:
    client = look(rich(tmp_path))
    page, rows = client.get("/versions").text, client.get("/versions.json").json()
    shown = re.findall(r'<th scope="row"><a href="/versions/(v\d+)">', page)

    assert ["v0005", "v0004", "v0003", "v0002", "v0001"] == shown == [row["id"] for row in rows]
    assert [None, "v0001", "v0002", "v0001", "v0004"] == [row["parent"] for row in reversed(rows)]
    assert 5 == page.count('class="branch"') and 1 == page.count('class="node here"')
    assert all(f">{word}</span>" in page for word in ("current", "pinned", "release", "deleted"))


def test_two_versions_are_compared(tmp_path: Any, look: Any) -> None:
    client = look(rich(tmp_path))
    page, diff = (
        client.get("/versions/diff?a=v0003&b=v0004"),
        client.get("/versions/diff.json?a=v0003&b=v0004"),
    )

    assert "v0001" == diff.json()["common"]
    assert all(name in page.text for name in ("b.jsonl", "c.jsonl", "d.jsonl"))
    assert "v0004" in client.get("/versions/diff?a=v0001").text  # the other one: current, when not named


def test_backups_show_their_fate_their_content_and_how_to_bring_them_back(tmp_path: Any, look: Any) -> None:
    client = look(rich(tmp_path))
    page, document = client.get("/backups").text, client.get("/backups.json").json()

    assert [("b0004", "verified"), ("b0003", "verified"), ("b0002", "failed"), ("b0001", "damaged")] == [
        (one["id"], one["state"]) for one in document["backups"]
    ]
    assert ("backups", 24) == (document["target"], document["every_hours"])
    assert document["last_ended_at"] < document["next_due"]
    assert "the target is not mounted" in page and "its bytes changed" in page
    assert "evertrain backup restore b0004 ./restored --target s3://somewhere/else" in page
    assert "2 versions (v0001 … v0002), 1 resume point" in text(page)


def test_a_target_with_a_space_in_it_is_quoted_in_the_command(tmp_path: Any, look: Any) -> None:
    story = Shelves(tmp_path)
    story.backs_up("b0001", "verified", target="/mnt/my disk; rm -rf x")

    assert "--target &#39;/mnt/my disk; rm -rf x&#39;" in look(story).get("/backups").text


def test_the_disk_page_shows_what_takes_space_and_what_a_clean_up_would_free(
    tmp_path: Any, look: Any
) -> None:
    client = look(rich(tmp_path))
    page, document = client.get("/disk").text, client.get("/disk.json").json()

    assert (79 << 30, 200 << 30) == (document["free_bytes"], document["total_bytes"])
    assert 10_000_000_000 == document["floor_bytes"] and document["target_bytes"] < 50_000_000_000
    assert 4 << 20 == document["reclaimable_bytes"] and 5 << 20 == document["cleaned"]["freed_bytes"]
    assert "It would free 4 MiB" in re.sub(r" +", " ", text(page)) and 'role="img"' in page


def test_the_days_left_are_read_from_the_newest_day_of_samples(
    tmp_path: Any, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, free, growth = [0], 5000 << 30, {DAY_US: 10 << 30, MINUTE_US: 1 << 30}
    monkeypatch.setattr("events.log.now_us", lambda: clock[0])
    monkeypatch.setattr("web.readings.DAY_SAMPLES", 90)
    story = Shelves(tmp_path)
    for every, n in ((DAY_US, 360), (MINUTE_US, 90)):  # it filled fast for a year, and does so no more
        for _ in range(n):
            clock[0] += every
            free -= growth[every] * every // DAY_US
            story.tell(ResourcesSampled(every_seconds=60.0, columns={"disk_free_bytes": [float(free)]}))
    story.log.beat("daemon", 106, "idle", sample=json.dumps({
        "disk": {"free_bytes": free, "total_bytes": 6000 << 30}, "usage": {"kinds": {}, "reclaimable": {}},
    }))  # fmt: skip
    document = look(story).get("/disk.json").json()

    assert pytest.approx(1 << 30, rel=1e-6) == document["growth_bytes_per_day"]
    assert pytest.approx((free - document["floor_bytes"]) / (1 << 30)) == document["days_left"]


def test_the_machine_page_shows_processes_settings_drifts_and_software(tmp_path: Any, look: Any) -> None:
    client = look(rich(tmp_path))
    page, document = text(client.get("/system").text), client.get("/system.json").json()
    trainer = next(one for one in document["processes"] if one["role"] == "trainer")

    assert ("step", 1, 108) == (trainer["phase"], trainer["restarts"], trainer["pid"])
    assert {"before": 2e-4, "after": 1e-4} == document["config_changes"][0]["changes"]["learning_rate"]
    assert 1e-4 == document["config"]["learning_rate"]
    assert "restore it from a backup" in page and "version_missing" in page
    assert {"torch", "transformers", "sqlite"} <= set(document["software"])
    assert document["log"]["head"] >= document["log"]["folded_to"] > 0 < document["log"]["size_bytes"]


def test_a_hang_stands_with_the_crash_it_led_to(tmp_path: Any, look: Any) -> None:
    client = look(rich(tmp_path))
    page, (crash,) = text(client.get("/crashes").text), client.get("/crashes.json").json()

    assert ("step", 1000.0, 900.0) == tuple(
        crash["hang"][key] for key in ("phase", "silent_seconds", "limit_seconds")
    )
    assert "hung 1000 s" in page and "no progress in step for 1000 s, 900 s are allowed" in page


def test_an_answer_that_came_is_the_one_to_its_request(two: Story, client: TestClient) -> None:
    first = two.tell(RestoreRequested(version="v0001"), actor="cli")
    second = two.tell(RestoreRequested(version="v0001"), actor="web")
    two.tell(specimen(VersionRestored, version="v0001", before="v0002", checkpoint=None, moments="fresh",
                      request=first))  # fmt: skip
    page = client.get("/versions").text
    asked = page[page.index("<h2>Asked") :]

    assert asked.index(f"/events/{second}") < asked.index("waits for its answer")
    assert (
        asked.index("waits for its answer") < asked.index(f"/events/{first}") < asked.index("VersionRestored")
    )
