"""Looking back in a real browser: closer at a chart, and along a value's changes."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.web.story import Story, sha


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    told = Story(tmp_path)
    told.waits("a.jsonl")
    told.starts("a.jsonl", planned=1000)
    for first in range(1, 1001, 200):
        told.steps(first, 200)
    told.completes("a.jsonl", "v0001", steps=1000)
    yield told
    told.log.close()


def test_steps_marked_with_the_mouse_are_looked_at_closer(story: Story, browser: Any, serving: Any) -> None:
    faults: list[str] = []
    with serving(story) as address:
        page = browser.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"{address}/runs/r1")
        box = page.locator(".chart svg").bounding_box()
        page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 40)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 60)
        page.mouse.up()
        page.wait_for_url("**from=*")
        found, summary = page.url, page.get_attribute(".chart svg", "aria-label")
        page.close()
    first, last = (int(number) for number in re.findall(r"(?:from|to)=(\d+)", found))

    assert abs(first - 250) < 10 and abs(last - 500) < 10
    assert f"steps {first} to {last}" in summary
    assert [] == faults


def test_a_value_is_followed_from_change_to_change_without_a_script(
    story: Story, browser: Any, serving: Any
) -> None:
    with serving(story) as address:
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto(f"{address}/replay?pin=queue.entries.{sha('a.jsonl')}.state")
        seen = [page.inner_text("#pin")]
        while page.locator("#pin a[rel=prev]").count():
            page.click("#pin a[rel=prev]")
            seen.append(page.inner_text("#pin"))
        page.fill("input[name=at] >> nth=0", str(story.log.head()))
        page.click("button:text-is('Show')")
        again = page.inner_text("#pin")
        page.click(".zoom-parts a >> nth=2")
        closer = page.inner_text("main")
        sideways = page.evaluate("document.documentElement.scrollWidth - innerWidth")

    states = [re.search(r'At #\d+\s+"(\w+)"', text) for text in seen]
    assert ["completed", "processing", "waiting"] == [found[1] for found in states if found][:3]
    assert len(seen) >= 3 and "Previous change\nnone" in seen[-1]
    assert seen[0] == again
    assert "501 – " in closer or "From step" in closer
    assert sideways <= 0
