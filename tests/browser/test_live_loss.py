"""The monitor in a real browser: a step another process commits shows on the open page."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from events.log import Log
from events.types import StepsCompleted
from tests.web.story import Story


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    told = Story(tmp_path)
    told.waits("a.jsonl")
    told.starts("a.jsonl")
    told.steps(1, 20)
    yield told
    told.log.close()


def step(log: Log, number: int, loss: float) -> None:
    columns: dict[str, Any] = {"loss": [loss], "seconds": [0.5], "tokens": [1024]}
    log.append(StepsCompleted(
        run="r1", attempt=1, first_step=number, first_global_step=number, n=1, columns=columns
    ))  # fmt: skip


def test_the_loss_on_an_open_page_follows_the_log(story: Story, browser: Any, serving: Any) -> None:
    faults: list[str] = []
    with serving(story) as address:
        page = browser.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
        page.goto(address)
        page.wait_for_selector("#live[data-state=live]")
        before = page.inner_text("#loss")
        other = Log(story.workspace.log, "trainer")
        step(other, 21, 1.25)
        page.wait_for_selector('#loss:text-is("1.250")', timeout=5000)
        shown = int(page.get_attribute("#loss", "data-seq"))
        head = other.head()
        other.close()
        page.close()

    assert "1.250" != before
    assert head == shown
    assert [] == faults


def test_the_focus_stays_where_it_is_while_the_page_changes(story: Story, browser: Any, serving: Any) -> None:
    with serving(story) as address:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("#live[data-state=live]")
        page.focus("#do-pause")
        page.click("summary:has-text('Table of values')")
        page.focus("#do-pause")
        story.saves(20)
        story.steps(21, 1, loss=1.5)
        page.wait_for_selector("#facts:has-text('CheckpointSaved')", timeout=5000)
        focused = page.evaluate("document.activeElement.id")
        opened = page.evaluate("document.querySelector('details.values').open")
        page.close()

    assert "do-pause" == focused
    assert opened


def test_new_facts_are_offered_on_the_audit_once_there_are_some(
    story: Story, browser: Any, serving: Any
) -> None:
    with serving(story) as address:
        page = browser.new_page()
        page.goto(f"{address}/audit")
        page.wait_for_selector("#live[data-state=live]")
        before = page.is_visible("#newer")
        story.saves(20)
        page.wait_for_selector("#newer", state="visible", timeout=5000)
        page.click("#newer")
        told = page.inner_text("table")
        page.close()

    assert not before
    assert "CheckpointSaved" in told


def test_a_click_on_pause_is_a_fact_and_shows(story: Story, browser: Any, serving: Any) -> None:
    with serving(story) as address:
        page = browser.new_page()
        page.goto(address)
        page.click("#do-pause")
        page.wait_for_selector(".asked")
        shown = page.inner_text(".asked")
        page.close()

    assert re.fullmatch(r"pause asked by web \(#\d+\)", shown)


def test_a_page_works_with_scripts_switched_off(story: Story, browser: Any, serving: Any) -> None:
    with serving(story) as address:
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto(address)
        loss, charts = page.inner_text("#loss"), page.locator("svg[role=img]").count()
        page.click("#do-pause")
        shown = page.inner_text(".asked")
        page.close()

    assert loss != "–" and charts >= 4
    assert "pause asked by web" in shown


def test_a_page_says_when_the_monitor_is_gone_and_finds_it_again(
    story: Story, browser: Any, serving: Any
) -> None:
    with serving(story) as address:
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("#live[data-state=live]")
        time.sleep(0.2)
    page.wait_for_selector("#live[data-state=reconnecting]", timeout=5000)
    page.close()
