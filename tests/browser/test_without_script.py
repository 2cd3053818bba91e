"""What is kept, seen and asked for in a real browser with scripts switched off."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from events.types import BackupRequested, CleanRequested, ConsolidateRequested, PinRequested, RestoreRequested
from tests.web.shelves import Shelves, rich


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Shelves]:
    """A rich story whose run has ended, so that nothing stands in the way of a restore."""
    told = rich(tmp_path)
    told.completes("e.jsonl", "v0006", "r5", 80, 200, "v0004")
    yield told
    told.log.close()


def asked(story: Shelves, before: int) -> list[Any]:
    """What this visit left in the log, by whom."""
    return [(recorded.actor, recorded.event) for recorded in story.log.read(before)]


def test_every_page_of_keeping_says_all_it_knows_without_a_script(
    story: Shelves, browser: Any, serving: Any
) -> None:
    seen = {}
    with serving(story) as address:
        page = browser.new_context(java_script_enabled=False).new_page()
        for path in ("/crashes", "/disk", "/versions", "/versions/v0001", "/backups", "/system", "/runs/r5"):
            page.goto(address + path)
            seen[path] = page.inner_text("main")
        trees = page.goto(address + "/versions") and page.locator("td.lane svg").count()
        sideways = page.evaluate("document.documentElement.scrollWidth - innerWidth")

    assert "What to do:" in seen["/crashes"] and "hung 1000 s" in seen["/crashes"]
    assert "79 GiB" in seen["/disk"] and "Clean up now" in seen["/disk"]
    assert "current" in seen["/versions"] and "deleted" in seen["/versions"] and 6 == trees
    assert "Restore…" in seen["/versions/v0001"] and "it is pinned" in seen["/versions/v0001"]
    assert (
        "evertrain backup restore b0004" in seen["/backups"]
        and "the target is not mounted" in seen["/backups"]
    )
    assert "restore it from a backup" in seen["/system"]
    assert "ProcessCrashed" in seen["/runs/r5"] and "checkpoint-220" in seen["/runs/r5"]
    assert sideways <= 0


def test_every_action_on_them_is_a_request_in_the_log_and_waits_on_the_page(
    story: Shelves, browser: Any, serving: Any
) -> None:
    with serving(story) as address:
        page = browser.new_context(
            java_script_enabled=False, viewport={"width": 390, "height": 800}
        ).new_page()
        before = story.log.head()
        page.goto(address + "/versions/v0003")
        page.click("button:text-is('Pin')")
        page.click("a:text-is('Restore…')")
        said = page.inner_text("main")
        page.click("button:text-is('Restore v0003')")
        waits = page.inner_text("#asked")
        page.goto(address + "/versions")
        page.click("button:text-is('Make it')")
        page.goto(address + "/backups")
        page.click("button:text-is('Back up now')")
        page.goto(address + "/disk")
        page.click("button:text-is('Clean up now')")
        cleaning = page.inner_text("main")

    assert [
        ("web", PinRequested(version="v0003")), ("web", RestoreRequested(version="v0003")),
        ("web", ConsolidateRequested(average=1)), ("web", BackupRequested()), ("web", CleanRequested()),
    ] == asked(story, before)  # fmt: skip
    assert "v0006 → v0003" in said and "280 → 200" in said
    assert 2 == len(re.findall("waits for its answer", waits))
    assert "A clean-up is asked for" in cleaning
