"""The live view: what one process commits, a viewer of another sees, with bounded effort and a clean end."""

import http.client
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.engine import connect
from db.workspace import Workspace
from events.log import Log
from tests.web.story import Story
from web.hub import VIEWERS
from web.live import CHANNELS

START_SECONDS = 30


class Served:
    """A monitor in its own process."""

    def __init__(self, workspace: Workspace, port: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "web", "--workspace", str(workspace.root), "--port", str(port)],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stderr is not None
        line = self.process.stderr.readline()
        found = re.search(r"http://localhost:(\d+)", line)
        assert found is not None, line
        self.port = int(found.group(1))

    def get(self, path: str, **headers: str) -> http.client.HTTPResponse:
        """The answer owns its connection: closing the one closes the other."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
        told = {name.replace("_", "-"): value for name, value in headers.items()} | {"Connection": "close"}
        connection.request("GET", path, headers=told)
        return connection.getresponse()

    def end(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=10)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code


@pytest.fixture
def served(story: Story) -> Iterator[Served]:
    story.waits("a.jsonl")
    story.starts("a.jsonl")
    monitor = Served(story.workspace)
    yield monitor
    monitor.end()


def messages(stream: http.client.HTTPResponse) -> Iterator[tuple[str, int, str]]:
    """(event, id, data), as they come."""
    name, seq, lines = "", 0, list[str]()
    while line := stream.readline().decode():
        match line.rstrip("\n").partition(": ")[::2]:
            case ("event", value):
                name = value
            case ("id", value):
                seq = int(value)
            case ("data", value):
                lines.append(value)
            case ("", _):
                yield name, seq, "\n".join(lines)
                name, seq, lines = "", 0, []


def test_a_step_reaches_an_open_page_with_its_position(story: Story, served: Served) -> None:
    head = story.log.head()
    with served.get(f"/live?page=overview&seq={head}") as stream:
        assert "text/event-stream; charset=utf-8" == stream.headers["content-type"]
        arrived = messages(stream)
        assert "newest" == next(arrived)[0]
        written = story.steps(1, 1, loss=4.25)
        seen = next(m for m in arrived if m[0] == "newest" and "4.250" in m[2])

        assert written == seen[1]
        assert f'data-seq="{written}"' in seen[2]


def test_a_page_opened_before_the_first_step_is_told_where_to_look_closer(
    story: Story, served: Served
) -> None:
    with served.get("/") as answer:
        assert 'class="zoom" id="zoom"' in (page := answer.read().decode()) and 'name="from"' not in page
    with served.get(f"/live?page=overview&seq={story.log.head()}") as stream:
        story.steps(1, 8)
        text = next(m[2] for m in messages(stream) if m[0] == "zoom" and "from=1&amp;to=2" in m[2])

    assert 'name="from"' in text and 'value="8"' in text


def test_a_viewer_who_was_away_gets_everything_afresh(story: Story, served: Served) -> None:
    story.steps(1, 1, loss=4.25)
    with served.get(f"/live?page=overview&seq={story.log.head()}", Last_Event_ID="1") as stream:
        names = set()
        for name, seq, _ in messages(stream):
            assert story.log.head() == seq
            names.add(name)
            if "loss-table" in names:
                break

    assert {"newest", "state", "controls", "loss-chart", "small-charts", "facts"} <= names


def test_a_burst_of_steps_is_few_messages(story: Story, served: Served) -> None:
    with served.get(f"/live?page=overview&seq={story.log.head()}") as stream:
        arrived = messages(stream)
        next(arrived)
        begun = time.monotonic()
        for n in range(1, 81):
            story.steps(n, 1, loss=4.0 + n)
        last, count = "", 0
        while "84.00" not in last:
            name, _, text = next(arrived)
            if name == "newest":
                last, count = text, count + 1
        took = time.monotonic() - begun

    assert count <= took / 0.1 + 2


def test_the_queue_page_follows_too(story: Story, served: Served) -> None:
    with served.get(f"/live?page=queue&seq={story.log.head()}") as stream:
        arrived = messages(stream)
        next(arrived)
        story.waits("fresh.jsonl", "high")
        text = next(m[2] for m in arrived if m[0] == "queue-waiting" and "fresh.jsonl" in m[2])

    assert 'action="/queue/move"' in text


def test_the_page_of_a_run_follows_its_own_run(story: Story, served: Served) -> None:
    story.steps(1, 3, loss=4.25)
    with served.get(f"/live?page=run/r1&seq={story.log.head()}") as stream:
        arrived = messages(stream)
        state = next(m[2] for m in arrived if m[0] == "run-state")
        story.steps(4, 5, loss=3.25)
        # in either order: a chart reads the log a moment later than the state beside it, and comes once
        texts = {"run-state": state, "loss-chart": ""}
        while "8 of 100" not in texts["run-state"] or "steps 1 to 8" not in texts["loss-chart"]:
            name, _, text = next(arrived)
            texts[name] = text
    with served.get("/live?page=run/nothing") as nothing:
        assert 404 == nothing.status

    assert "3 of 100" in state


@pytest.mark.parametrize(
    ("channel", "fragments"),
    [
        ("runs", {"runs-list"}), ("versions", {"versions-list", "asked"}),
        ("backups", {"backups-list", "backups-state", "asked"}), ("disk", {"disk-state", "asked"}),
        ("crashes", {"crashes-list"}), ("system", {"system-now", "alerts", "drifts"}),
    ],
)  # fmt: skip
def test_each_page_gets_its_own_fragments_and_no_other(
    served: Served, channel: str, fragments: set[str]
) -> None:
    names: set[str] = set()
    with served.get(f"/live?page={channel}") as stream:
        arrived = messages(stream)
        while not fragments <= names:
            names.add(next(arrived)[0])
    with served.get("/" + channel) as answer:
        page = answer.read().decode()

    assert fragments | {"nav"} == names == set(CHANNELS[channel].all)
    assert all(f'id="{name}"' in page for name in names)


def test_viewers_are_limited_and_leaving_makes_room(served: Served) -> None:
    streams = [served.get("/live?page=audit") for _ in range(VIEWERS)]
    refused = served.get("/live?page=audit")
    assert (503, "5") == (refused.status, refused.headers["retry-after"])
    refused.close()
    for stream in streams:
        stream.close()
    until = time.monotonic() + 10
    while (again := served.get("/live?page=audit")).status != 200 and time.monotonic() < until:
        again.close()
        time.sleep(0.1)

    assert 200 == again.status
    again.close()
    with served.get("/live?page=nothing") as nothing:
        assert 404 == nothing.status


def test_sigterm_ends_the_monitor_while_somebody_looks(served: Served) -> None:
    with served.get("/live?page=overview") as stream:
        next(messages(stream))
        begun = time.monotonic()
        code = served.end()
        took = time.monotonic() - begun

    assert 0 == code
    assert took < 8  # a stream that nobody ends would hold it for ever


def test_the_monitor_says_that_it_lives_and_that_it_has_gone(story: Story, served: Served) -> None:
    until = time.monotonic() + START_SECONDS
    while "monitor" not in story.log.heartbeats() and time.monotonic() < until:
        time.sleep(0.05)
    beat = story.log.heartbeats()["monitor"]
    served.end()

    assert (served.process.pid, "idle") == (beat["pid"], beat["phase"])
    assert "gone" == story.log.heartbeats()["monitor"]["phase"]


def test_raw_requests_with_a_strange_host_are_refused(served: Served) -> None:
    heads = (
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        "GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    )
    for head in heads:
        with socket.create_connection(("127.0.0.1", served.port), timeout=10) as raw:
            raw.sendall(head.encode())

            assert b" 400 " in raw.recv(200).split(b"\r\n")[0], head


def _run(workspace: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "web", "--workspace", str(workspace), *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=START_SECONDS)


def test_a_taken_port_is_said_in_one_line(story: Story) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = _run(story.workspace.root, "--port", port)

    assert 98 == ended.returncode
    assert 1 == len(ended.stderr.splitlines()) and port in ended.stderr


def test_a_second_monitor_names_the_first_and_ends(story: Story, served: Served) -> None:
    ended = _run(story.workspace.root, "--port", "0")

    assert 3 == ended.returncode
    assert str(served.process.pid) in ended.stderr


def test_it_listens_to_this_machine_alone(story: Story) -> None:
    ended = _run(story.workspace.root, "--host", "0.0.0.0")

    assert 2 == ended.returncode
    assert "no login" in ended.stderr


def test_a_workspace_without_a_log_is_refused_with_advice(tmp_path: Path) -> None:
    ended = _run(tmp_path)

    assert 3 == ended.returncode
    assert "evertrain init" in ended.stderr


def test_the_monitor_loads_neither_torch_nor_the_core(story: Story) -> None:
    code = (
        "import sys, web.__main__; heavy = {'torch', 'transformers', 'core', 'sqlalchemy', 'numpy'}; "
        "print([name for name in sys.modules if name.split('.')[0] in heavy])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=START_SECONDS
    )

    assert "[]\n" == ended.stdout


def test_a_log_of_another_process_may_write_meanwhile(story: Story, served: Served) -> None:
    other = Log(story.workspace.log, "cli")
    with served.get("/healthz") as answer:
        assert b'{"status":"ok"}' == answer.read()
    other.close()


def test_a_monitor_that_cannot_go_on_ends_with_an_error_and_its_trace(story: Story) -> None:
    served = Served(story.workspace)
    raw = connect(story.workspace.log)
    raw.execute("ALTER TABLE heartbeat RENAME TO gone")
    raw.close()
    assert served.process.stderr is not None
    said = served.process.stderr.read()

    assert 1 == served.end()
    assert "no such table: heartbeat" in said
