"""What the browser's tests share: a monitor on a port of its own, and a Chromium that looks at it."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
import uvicorn

from tests.web.story import Story
from web.app import create_app

ARGUMENTS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@contextmanager
def served(story: Story) -> Iterator[str]:
    """The monitor in a thread; gives its address."""
    app = create_app(story.workspace)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=1))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://localhost:{listening.getsockname()[1]}"
    finally:
        app.state.monitor.hub.close()
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture
def serving() -> Callable[[Story], AbstractContextManager[str]]:
    """The monitor of a story, while the block lasts."""
    return served


@pytest.fixture(scope="module")
def browser(chromium: Any) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=str(chromium), args=list(ARGUMENTS))
        yield opened
        opened.close()
