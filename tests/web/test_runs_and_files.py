"""The pages of one run and of one file: what was done again stands apart, and every button is a request."""

import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from core.decide import control
from events.types import (
    FileLost,
    FileRemoved,
    FileReopened,
    MoveRequested,
    Recorded,
    RetryRequested,
    SkipRequested,
    TrainingSkipped,
)
from projections import reports
from projections.fold import FOLDED, State, fold
from tests.facts import specimen
from tests.web.shelves import Shelves, failed, rich
from tests.web.story import Story, sha
from web.charts import Point, standing


def path_of(html: str, kind: str) -> str:
    """The first path of a kind on a page."""
    found = re.search(rf'class="{kind}" d="([^"]*)"', html)
    assert found is not None
    return found.group(1)


def test_a_run_shows_its_tries_and_what_ended_each(tmp_path: Any, look: Any) -> None:
    story = rich(tmp_path)
    client = look(story)
    document, page = client.get("/runs/r5.json").json(), client.get("/runs/r5").text

    assert [(1, 0, "ProcessCrashed", 30), (2, 20, None, None)] == [
        (one["attempt"], one["step"], one["ended"], one["last_step"]) for one in document["tries"]
    ]
    assert (40, 80, 240, "open") == tuple(
        document[key] for key in ("step", "steps_planned", "global_step", "state")
    )
    assert [f"c{document['tries'][0]['ended_seq']}"] == [crash["id"] for crash in document["crashes"]]
    assert f'href="/replay?at={document["crashes"][0]["seq"] - 1}"' in page
    assert "/audit?stream=run/r5" in page


def test_steps_done_again_are_a_curve_of_their_own(story: Story, look: Any) -> None:
    story.waits("a.jsonl")
    story.starts("a.jsonl")
    story.steps(1, 30, loss=5.0)
    once = look(story).get("/runs/r1").text
    story.steps(21, 10, loss=1.0, attempt=2)
    client = look(story)
    again = client.get("/runs/r1").text
    pages = [again, client.get("/").text, client.get("/?range=all").text]
    small = [page.partition('id="chart-grad_norm"')[2] for page in pages]

    assert "" == path_of(once, "earlier") and "done again since" not in once
    assert "" != path_of(again, "earlier") and "done again since" in again
    assert "" != path_of(small[0], "earlier")
    assert 1 == len({path_of(each, "earlier") for each in small})


def test_points_that_were_measured_again_replace_those_behind_them() -> None:
    given = [Point(0, 3.0), Point(50, 2.5), Point(100, 2.0), Point(60, 2.2), Point(80, float("nan"))]

    assert [Point(0, 3.0), Point(50, 2.5), Point(60, 2.2)] == standing(given)


def test_validations_stand_side_by_side_and_the_best_is_marked(tmp_path: Any, look: Any) -> None:
    story = Shelves(tmp_path)
    story.waits("a.jsonl")
    story.starts("a.jsonl", fixed_set=sha("fixed"))
    for step, loss, fixed in ((0, 4.0, 4.5), (10, 3.0, 3.2), (20, 2.5, 3.6)):
        story.validates(step, loss)
        story.measures_fixed(step, fixed, "r1")
    client = look(story)
    document, page = client.get("/runs/r1.json").json(), client.get("/runs/r1").text

    assert [(0, 4.0, 4.5), (10, 3.0, 3.2), (20, 2.5, 3.6)] == [
        (row["step"], row["loss"], row["fixed_loss"]) for row in document["validations"]
    ]
    assert (10, "fixed", 3.2) == tuple(document["best"][key] for key in ("step", "kind", "loss"))
    assert 1 == page.count(">best</span>")
    assert "step 10 with 3.200 on the fixed set" in page and path_of(page, "fixed")


def test_a_run_that_was_given_up_says_why(story: Story, look: Any) -> None:
    failed(story, "a.jsonl", "r1")
    client = look(story)

    assert "it always dies at step 0" in client.get("/runs/r1").text
    assert ["failed"] == [run["state"] for run in client.get("/runs.json").json()["runs"]]


def test_a_file_shows_its_report_its_runs_and_its_history(tmp_path: Any, look: Any) -> None:
    story = rich(tmp_path)
    client = look(story)
    bad, good = (client.get(f"/files/{sha(name)}.json").json() for name in ("bad.jsonl", "a.jsonl"))
    page = client.get(f"/files/{sha('bad.jsonl')}").text

    assert ("rejected", {"not_json": 6, "too_long": 2}, "most rows are unusable") == (
        bad["verdict"], bad["counts"], bad["reason"],
    )  # fmt: skip
    assert (["r1"], ["v0001"]) == ([run["id"] for run in good["runs"]], good["versions"])
    assert "not_json" in page and 'action="/queue/retry"' in page and 'action="/queue/move"' not in page
    assert page.count('class="type"') >= 3


@pytest.mark.parametrize("twin", ["", ".json"])
def test_the_report_of_a_file_is_made_once(
    story: Story, client: TestClient, monkeypatch: pytest.MonkeyPatch, twin: str
) -> None:
    made, report = [], reports.file_report

    def counted(state: State, sha256: str) -> Any:
        made.append(sha256)
        return report(state, sha256)

    monkeypatch.setattr(reports, "file_report", counted)
    key = story.waits("a.jsonl")

    assert 200 == client.get(f"/files/{key}{twin}").status_code
    assert [key] == made


def test_the_buttons_of_a_file_ask_and_come_back_to_it(story: Story, client: TestClient, click: Any) -> None:
    key = story.waits("a.jsonl")
    page = client.get(f"/files/{key}").text
    answer = click("/queue/move", sha256=key, page="file", priority="high", seq=str(story.log.head()))
    shown = client.get(f"/files/{key}").text
    again = click("/queue/retry", sha256=key, page="file", seq=str(story.log.head()))
    facts = [recorded.event for recorded in story.log.read(story.log.head() - 2)]

    assert 'action="/queue/move"' in page and 'action="/queue/remove"' in page
    assert [(303, f"/files/{key}")] * 2 == [(a.status_code, a.headers["location"]) for a in (answer, again)]
    assert "waits for its answer" in shown and "MoveRequested" in shown
    assert [MoveRequested(sha256=key, priority="high"), RetryRequested(sha256=key)] == facts


def test_a_retry_is_offered_exactly_where_the_daemon_would_take_it(tmp_path: Any, look: Any) -> None:
    story = Shelves(tmp_path)
    story.rejects("rejected")
    story.trained("completed", None, "r1", 5)
    failed(story, "failed", "r2", 5)
    for name, run in (("skipped", "r3"), ("processing", "r4")):
        story.waits(name)
        story.starts(name, run, 5, 5)
        if name == "skipped":
            story.tell(TrainingSkipped(run=run, sha256=sha(name), step=0, global_step=5, checkpoint=None,
                                       request=story.asks(SkipRequested(run=run))))  # fmt: skip
    story.waits("waiting")
    story.waits("removed")
    story.tell(FileRemoved(sha256=sha("removed"), reason="asked"))
    for name in ("lost", "lost_later"):
        story.waits(name)
        if name == "lost_later":
            story.tell(FileRemoved(sha256=sha(name), reason="asked"))
        story.tell(FileLost(sha256=sha(name), path=f"queue/normal/{name}"))
    client, state = look(story), fold(story.log.read(types=FOLDED))
    names = {entry.name: key for key, entry in state.queue.entries.items()}
    taken = set()
    for name, key in names.items():
        asked = Recorded(state.seq + 1, 0, "web", RetryRequested(sha256=key))
        (answer,) = control.answer(fold([asked], state), trainer_alive=True)
        taken |= {name} if isinstance(answer, FileReopened) else set()
    pages = {name: client.get(f"/files/{key}").text for name, key in names.items()}
    offered = re.findall(r'aria-label="Retry (\w+)"', client.get("/queue").text)

    assert {"rejected", "completed", "failed", "skipped", "removed"} == taken
    assert taken == set(offered)
    assert taken == {name for name, page in pages.items() if 'action="/queue/retry"' in page}


def test_a_list_of_runs_goes_through_the_versions_once(
    tmp_path: Any, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, made = [], reports.versions_made

    def counted(state: State) -> dict[str, str]:
        seen.append(state)
        return made(state)

    monkeypatch.setattr(reports, "versions_made", counted)
    rows = look(rich(tmp_path)).get("/runs.json").json()["runs"]

    assert 1 == len(seen)
    assert {"r1": "v0001", "r2": "v0002", "r3": "v0003", "r4": "v0004", "r5": None} == {
        row["id"]: row["version"] for row in rows
    }


def test_the_twin_of_an_older_page_of_runs_is_that_page(tmp_path: Any, look: Any) -> None:
    client = look(rich(tmp_path))
    before = client.get("/runs.json").json()["runs"][0]["seq"]
    page = client.get(f"/runs?before={before}").text
    (twin,) = re.findall(r'href="(/runs\.json[^"]*)"', page)
    shown = re.findall(r'<th scope="row"><a href="/runs/(\w+)">', page)

    assert shown and shown == [run["id"] for run in client.get(twin).json()["runs"]]
    assert 'href="/runs.json"' in client.get("/runs").text


def test_a_page_number_that_is_none_is_refused(client: TestClient) -> None:
    assert [400, 400] == [client.get(f"/runs?before={bad}").status_code for bad in ("x", "9" * 20)]


def test_a_version_names_all_it_is_made_of_and_a_file_all_that_hold_it(
    story: Story, client: TestClient
) -> None:
    story.trained("a.jsonl", "v0001", "r1", 100)
    story.waits("b.jsonl")
    story.starts("b.jsonl", "r2", 100, 100, "v0001")
    story.steps(1, 30, "r2", 100)
    story.tell(specimen(TrainingSkipped, run="r2", sha256=sha("b.jsonl"), step=30, global_step=130))
    story.trained("c.jsonl", "v0002", "r3", 10, 130, "v0001")
    story.trained("d.jsonl", "v0003", "r4", 10, 100, "v0001")  # after a return: b's steps are not in it
    names = ("v0001", "v0002", "v0003")
    made = {name: client.get(f"/versions/{name}.json").json()["made_of"] for name in names}
    held = {
        file: client.get(f"/files/{sha(file)}.json").json()["held_by"]
        for file in ("a.jsonl", "b.jsonl", "c.jsonl", "d.jsonl")
    }
    page = client.get("/versions/v0002").text

    assert [["a.jsonl"], ["a.jsonl", "b.jsonl", "c.jsonl"], ["a.jsonl", "d.jsonl"]] == [
        [part["file"] for part in made[name]] for name in names
    ]
    assert ["v0001", None, "v0002"] == [part["version"] for part in made["v0002"]]
    assert [0, 100, 130] == [part["begin_step"] for part in made["v0002"]]
    assert {
        "a.jsonl": ["v0003", "v0002", "v0001"], "b.jsonl": ["v0002"], "c.jsonl": ["v0002"],
        "d.jsonl": ["v0003"],
    } == held  # fmt: skip
    assert "no version; its steps stayed" in page and sha("plan")[:12] in page
    assert 'href="/versions/v0002">v0002</a>' in client.get(f"/files/{sha('b.jsonl')}").text
