"""The crashes page: equal ones together, each with its advice, its fact and what was just before."""

import re
from typing import Any

from starlette.testclient import TestClient

from events.types import Event, ProcessCrashed, ProcessHung
from projections.crashes import MEANINGS
from projections.health import CRASHES_KEPT
from tests.web.story import Story


def crash(**more: Any) -> Event:
    given: dict[str, Any] = {
        "role": "trainer", "pid": 7, "exit_code": 1, "signal": None, "run": "r1", "step": 3, "phase": "step",
        "error": "OutOfMemoryError at core/train/trainer.py:80 in step", "category": "cuda_oom",
        "frames": ("core/train/run.py:9 in run", "core/train/trainer.py:80 in step"),
        "resources": {"ram_used_bytes": 3 << 30, "gpu0_temperature_c": 71},
    }  # fmt: skip
    return ProcessCrashed(**(given | more))


def test_equal_crashes_stand_together_with_cause_and_advice(story: Story, client: TestClient) -> None:
    moved = ("core/train/run.py:9 in run", "core/train/trainer.py:81 in step")
    first, second = story.tell(crash()), story.tell(crash(frames=moved))
    story.tell(crash(signal="SIGSEGV", exit_code=None, category="segfault", error="killed by SIGSEGV"))
    page = client.get("/crashes").text

    headings = re.findall(r"<h2 id=[^>]+>([^<]+)<span[^>]*>(\d+)×", page)
    assert [("segfault", "1"), ("cuda_oom", "2")] == [(title.split(" ")[0], n) for title, n in headings]
    assert MEANINGS["cuda_oom"].advice in page
    assert page.index(f'href="/events/{second}"') < page.index(f'href="/events/{first}"')
    assert "core/train/trainer.py:81 in step" in page
    assert "3 GiB" in page and "gpu0 temperature c" in page


def test_the_twin_holds_what_the_contract_promises_and_the_evidence(story: Story, client: TestClient) -> None:
    seq = story.tell(crash())
    (found,) = client.get("/crashes.json").json()

    assert (f"c{seq}", "trainer", "cuda_oom", 1, None, seq) == tuple(
        found[key] for key in ("id", "process", "category", "exit_code", "signal", "seq")
    )
    assert MEANINGS["cuda_oom"].advice == found["advice"]
    assert ("step", "r1", 3, seq - 1) == tuple(found[key] for key in ("phase", "run", "step", "state_before"))


def test_the_state_just_before_is_the_fold_up_to_there(story: Story, client: TestClient) -> None:
    story.waits("a.jsonl")
    story.starts("a.jsonl")
    seq = story.tell(crash())
    story.completes("a.jsonl")
    page = client.get("/crashes").text
    before = client.get(f"/crashes/c{seq}/before.json").json()
    replayed = client.get(f"/replay.json?at={seq - 1}").json()

    assert f'href="/replay?at={seq - 1}"' in page and f'href="/audit?before={seq}"' in page
    assert seq - 1 == before["seq"] and replayed == before
    assert [] == before["projections"]["health"]["crashes"]
    assert "r1" in before["projections"]["run"]["runs"]
    assert [404] * 3 == [client.get(f"/crashes/{bad}/before.json").status_code for bad in ("c1", "x", "c99")]


def test_a_hang_is_never_laid_to_another_process(story: Story, client: TestClient) -> None:
    story.tell(ProcessHung(role="trainer", pid=7, phase="step", silent_seconds=1000.0, limit_seconds=900.0))
    own = story.tell(crash(pid=7, category="timeout"))
    known = {one["seq"]: one["hang"] for one in client.get("/crashes.json").json()}
    for n in range(CRASHES_KEPT):
        story.tell(crash(pid=8 + n))
    later = {one["seq"]: one["hang"] for one in client.get("/crashes.json").json()}

    assert known[own] is not None
    assert CRASHES_KEPT == len(later) and own not in later
    assert [None] * CRASHES_KEPT == list(later.values())


def test_every_page_leads_to_the_crashes(client: TestClient) -> None:
    assert 'href="/crashes"' in client.get("/").text
    assert "Nothing has crashed." in client.get("/crashes").text


def test_a_crash_written_by_a_newer_software_is_still_shown(story: Story, client: TestClient) -> None:
    story.tell(crash(category="moon_landed", frames=(), phase=None, resources={}))
    page = client.get("/crashes").text

    assert "moon_landed" in page and MEANINGS["unknown"].advice in page
