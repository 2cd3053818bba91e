"""The buttons: each click is one request in the log, a stale one changes nothing."""

import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from events.types import (
    MoveRequested,
    PauseRequested,
    RemoveRequested,
    ResumeRequested,
    RetryRequested,
    ServicePaused,
    SkipRequested,
    StopRequested,
)
from tests.web.story import Story, sha


def newest(story: Story) -> tuple[str, Any]:
    recorded = story.log.get(story.log.head())
    assert recorded is not None
    return recorded.actor, recorded.event


@pytest.mark.parametrize(
    ("action", "fact"),
    [("pause", PauseRequested), ("resume", ResumeRequested), ("stop", StopRequested)],
)
def test_a_control_appends_one_request(story: Story, click: Any, action: str, fact: type) -> None:
    before = story.log.head()
    answer = click(f"/{action}", seq=str(before))

    assert (303, "/") == (answer.status_code, answer.headers["location"])
    assert before + 1 == story.log.head()
    assert ("web", fact()) == newest(story)


def test_skip_is_addressed_to_the_run_that_was_shown(story: Story, client: TestClient, click: Any) -> None:
    story.waits("a.jsonl")
    story.starts("a.jsonl", "r7")
    form = re.search(r'action="/skip".*?</form>', client.get("/").text, re.DOTALL)
    assert form is not None
    fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form.group(0)))
    click("/skip", **fields)

    assert ("web", SkipRequested(run="r7")) == newest(story)


def test_a_double_click_is_one_request(story: Story, click: Any) -> None:
    before = story.log.head()
    answers = [click("/pause", seq=str(before)).status_code for _ in range(3)]

    assert [303, 303, 303] == answers
    assert before + 1 == story.log.head()


def test_a_page_out_of_date_is_refused_with_the_current_state(story: Story, click: Any) -> None:
    shown = story.log.head()
    request = story.tell(PauseRequested(), actor="cli")
    story.tell(ServicePaused(request=request))
    before = story.log.head()
    answer = click("/stop", seq=str(shown))

    assert 409 == answer.status_code
    assert before == story.log.head()
    assert "Nothing was changed" in answer.text and "paused" in answer.text


def test_a_request_under_way_is_shown_and_not_offered_again(
    story: Story, client: TestClient, click: Any
) -> None:
    click("/pause", seq=str(story.log.head()))
    page = client.get("/").text

    assert f"pause asked by web (#{story.log.head()})" in page
    assert 'action="/pause"' not in page and 'action="/resume"' in page


@pytest.mark.parametrize(
    ("path", "fields", "fact"),
    [
        ("/queue/move", {"priority": "high"}, MoveRequested(sha256=sha("a.jsonl"), priority="high")),
        ("/queue/remove", {}, RemoveRequested(sha256=sha("a.jsonl"))),
        ("/queue/retry", {}, RetryRequested(sha256=sha("a.jsonl"))),
    ],
)
def test_a_file_can_be_moved_removed_and_retried(
    story: Story, click: Any, path: str, fields: dict[str, str], fact: Any
) -> None:
    story.waits("a.jsonl")
    answer = click(path, sha256=sha("a.jsonl"), seq=str(story.log.head()), **fields)

    assert (303, "/queue") == (answer.status_code, answer.headers["location"])
    assert ("web", fact) == newest(story)


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/queue/move", {"sha256": sha("a.jsonl"), "priority": "urgent"}, 400),
        ("/queue/move", {"sha256": sha("other"), "priority": "high"}, 404),
        ("/queue/remove", {"sha256": "../../etc/passwd"}, 404),
        ("/queue/retry", {"sha256": ""}, 404),
        ("/pause", {"seq": "-1"}, 400),
        ("/pause", {"seq": "1" * 20}, 400),
        ("/pause", {"seq": "1", "filler": "x" * 20_000}, 413),
    ],
)
def test_a_form_that_makes_no_sense_changes_nothing(
    story: Story, click: Any, path: str, fields: dict[str, str], status: int
) -> None:
    story.waits("a.jsonl")
    before = story.log.head()

    assert status == click(path, **fields).status_code
    assert before == story.log.head()


def test_only_plain_forms_are_read(client: TestClient) -> None:
    answer = client.post("/pause", content=b"{}", headers={"content-type": "application/json"})

    assert 415 == answer.status_code
