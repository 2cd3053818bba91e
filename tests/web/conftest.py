"""What the monitor's tests share: a story, and a client that looks at it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.web.story import Story
from web.app import create_app


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    told = Story(tmp_path)
    yield told
    told.log.close()


@pytest.fixture
def client(story: Story) -> Iterator[TestClient]:
    """A browser on the same machine; it does not follow redirects, so that they can be seen."""
    app = create_app(story.workspace)
    yield TestClient(app, base_url="http://localhost:8080", follow_redirects=False)
    app.state.monitor.close()


@pytest.fixture
def look() -> Iterator[Callable[[Story], TestClient]]:
    """Open a browser on a story told in the test."""
    opened = []

    def open_on(story: Story) -> TestClient:
        app = create_app(story.workspace)
        opened.append((app, story))
        return TestClient(app, base_url="http://localhost:8080", follow_redirects=False)

    yield open_on
    for app, story in opened:
        app.state.monitor.close()
        story.log.close()


@pytest.fixture
def click(client: TestClient) -> Callable[..., object]:
    """Send a form as the page itself would."""

    def post(path: str, **fields: str) -> object:
        headers = {"sec-fetch-site": "same-origin", "origin": "http://localhost:8080"}
        return client.post(path, data=fields, headers=headers)

    return post
