"""The first thing a new user sees: `evertrain demo`, in a browser, to its end; and once more."""

import json
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from events.types import BackupVerified, StepsCompleted, ValidationMeasured
from tests.e2e.recorder import Recorder, differences
from tests.e2e.stage import Stage, wait

BROWSER = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
MOMENTS, FIFTY = 10, 50  # positions looked at again
FIRST_POINT_SECONDS = 60  # the bar; waited for five times as long


@pytest.mark.timeout(900)
def test_the_demo_trains_shows_and_publishes(
    tmp_path: Path,
    chromium: str,
    evertrain: Callable[..., Any],
    record_property: Callable[[str, object], None],
) -> None:
    from playwright.sync_api import sync_playwright

    stage = Stage(tmp_path / "demo-workspace")
    began = time.monotonic()
    process = stage.serve("--until-idle", command="demo")
    try:
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=chromium, args=list(BROWSER))
            page = browser.new_page()
            wait(lambda: _goes(page, f"http://localhost:{stage.port}/"), 5 * FIRST_POINT_SECONDS, "the page")
            wait(lambda: _shows_a_loss(page), 5 * FIRST_POINT_SECONDS, "the first live loss")
            record_property("first_loss_seconds", time.monotonic() - began)
            print(f"first live loss after {time.monotonic() - began:.1f} s")
            browser.close()
        with Recorder(stage.root, stage.port) as recorder:
            assert 0 == process.wait(600)
        print(f"the demo took {time.monotonic() - began:.1f} s")
    finally:
        stage.kill_all()

    assert recorder.error is None
    assert len(recorder.seen) > MOMENTS
    assert 15 < len({address for looks in recorder.seen.values() for address in looks})
    assert [] == differences(stage.workspace, recorder.seen, MOMENTS)
    state = stage.state()
    assert ["v0001", "v0002"] == list(state.versions.order)
    assert 2 == state.queue.counts("completed")
    measured = [e for r in stage.facts(ValidationMeasured) if isinstance(e := r.event, ValidationMeasured)]
    created = state.workspace.created
    assert created is not None
    assert math.log(created.vocabulary_size) == pytest.approx(measured[0].loss, rel=0.10)
    assert measured[-1].loss <= 0.7 * measured[0].loss
    for folder in (stage.workspace.current_model, *sorted(stage.workspace.versions.iterdir())):
        _loads(folder)
    report = json.loads(evertrain("verify", "--deep", "--json", "--workspace", stage.root).stdout)
    assert [] == report["problems"]
    assert json.loads(evertrain("rebuild", "--json", "--workspace", stage.root).stdout)["ok"]

    stage.serve("--until-idle", command="demo")
    stage.wait_for(lambda s: len(s.versions.order) == 3, "a second demo to train again", 300)
    stage.kill_all()
    assert 4 == len(stage.state().inbox.files)


def _goes(page: Any, url: str) -> bool:
    from playwright.sync_api import Error

    try:
        page.goto(url, wait_until="domcontentloaded")
    except Error:
        time.sleep(0.3)
        return False
    return True


def _shows_a_loss(page: Any) -> bool:
    text = page.locator("#loss").first.inner_text()
    return any(character.isdigit() for character in text)


def _loads(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    ids = tokenizer("def f(x):", return_tensors="pt").input_ids
    assert bool(torch.isfinite(model(ids).logits).all())


def test_the_demo_leaves_other_folders_alone(tmp_path: Path, evertrain: Callable[..., Any]) -> None:
    (tmp_path / "mine.txt").write_text("mine")

    refused = evertrain("demo", "--workspace", tmp_path, check=3)

    assert "not made by the demo" in refused.stderr
    assert ["mine.txt"] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.chaos
@pytest.mark.timeout(1200)
def test_fifty_moments_of_a_demo_show_again_what_was_seen_at_them(
    tmp_path: Path, evertrain: Callable[..., Any]
) -> None:
    stage = Stage(tmp_path / "demo-workspace")
    stage.serve(command="demo")
    try:
        with Recorder(stage.root, stage.port) as recorder:
            wait(stage.workspace.log.exists, 100, "a log")
            stage.wait_for_fact(StepsCompleted, 3)
            evertrain("pause", "--workspace", stage.root)
            stage.wait_for(lambda s: s.control.mode == "paused", "the pause")
            evertrain("resume", "--workspace", stage.root)
            stage.wait_for_fact(StepsCompleted, 8)
            found: list[int] = []
            wait(lambda: found.extend(filter(None, [stage.pid("trainer")])) or found, 100, "a trainer")
            os.kill(found[0], signal.SIGKILL)
            stage.wait_for(lambda s: len(s.versions.order) == 2, "two versions", 600)
            stage.wait_for_fact(BackupVerified, timeout=200)
    finally:
        stage.kill_all()
    differing = differences(stage.workspace, recorder.seen, FIFTY)
    looks = sum(len(pages) for pages in recorder.seen.values())
    print(f"{looks} looks at {len(recorder.seen)} positions; {len(differing)} differences in {FIFTY} of them")

    assert recorder.error is None and len(recorder.seen) >= FIFTY
    assert [] == differing
