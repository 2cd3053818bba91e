"""QUICKSTART as a newcomer follows it: every `evertrain` line of its code blocks, in order, for real."""

import gzip
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from core.gpu import gpus
from core.model.docstrings import harvest
from db.workspace import Workspace
from events.log import Log
from events.types import ProcessCrashed
from tests.e2e.conftest import CONFIG
from tests.e2e.stage import ROOT, Stage, free_port

PAGE = ROOT / "docs" / "QUICKSTART.md"
ROWS = 60

#: Run elsewhere, word by word, and too long to run twice.
ELSEWHERE = {"evertrain demo": "tests/e2e/test_demo.py"}
#: What the page says would be refused at that place of the story.
REFUSED = {
    "evertrain skip": 3,
    "evertrain stop --wait": 3,  # stopped already
    "evertrain decay": 3,  # lr_schedule is not wsd
    "evertrain doctor --gpu-selftest --workspace workspace": 0 if gpus() else 3,  # it tries a card
}


def lines() -> list[str]:
    """The commands of the page's code blocks, without their comments."""
    text = PAGE.read_text(encoding="utf-8")
    found = re.findall(r"^(?:    )?(evertrain .+?)(?:\s{2,}#.*|\s#\s.*)?$", _code(text), flags=re.MULTILINE)
    return [line.strip() for line in found]


def _code(text: str) -> str:
    """Fenced and indented blocks alone."""
    fenced = re.findall(r"^```\w*\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    indented = [line for line in text.splitlines() if line.startswith("    ")]
    return "\n".join([*fenced, *indented])


class Newcomer:
    """A person in an empty folder, following the page."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.stage = Stage(home / "workspace")

    def types(self, line: str) -> None:
        """Run a line as it stands; what would run for ever ends when it is idle."""
        words = shlex.split(line)[1:]
        if words[0] == "serve":
            words += ["--until-idle", "--port", str(free_port())]
        if words[:2] == ["crashes", "show"]:
            words[2] = self._crash()
        done = subprocess.run(
            [sys.executable, "-P", "-c", "from core.cli import main; main()", *words],
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=600,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert REFUSED.get(line, 0) == done.returncode, f"{line}\n{done.stdout}\n{done.stderr}"
        if words[0] == "init":
            self._settles_in()

    def _settles_in(self) -> None:
        """Settings for a tiny model, and the first files."""
        Workspace(self.stage.root).config.write_text(json.dumps(CONFIG | {"epochs": 1}))
        for number, name in enumerate(("first", "second")):
            text = _chats(number * ROWS)
            (self.stage.root / "inbox" / f"{name}.jsonl").write_text(text, encoding="utf-8")

    def _crash(self) -> str:
        """The id of a crash that happened."""
        log = Log(self.stage.workspace.log, "watchdog")
        (seq,) = log.append(
            ProcessCrashed(role="monitor", pid=1, exit_code=None, signal="SIGKILL", error="killed by SIGKILL")
        )
        log.close()
        return f"c{seq}"


def _chats(first: int) -> str:
    return "".join(json.dumps(row) + "\n" for row in harvest(first, ROWS))


def snippets() -> list[str]:
    """The page's blocks of Python, for a machine that only has the exported folder."""
    return re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.mark.timeout(900)
def test_every_command_of_the_quickstart_works(tmp_path: Path, demo_base: Path) -> None:
    home = tmp_path / "home"
    (home / "path" / "to").mkdir(parents=True)
    (home / "path" / "to" / "Qwen3-0.6B").symlink_to(demo_base)
    (home / "FILE.jsonl").write_text(_chats(2 * ROWS), encoding="utf-8")
    (home / "ROWS.json").write_text(json.dumps(harvest(3 * ROWS, ROWS)), encoding="utf-8")
    (home / "ROWS.jsonl.gz").write_bytes(gzip.compress(_chats(4 * ROWS).encode()))
    newcomer = Newcomer(home)
    commands = lines()

    assert len(commands) > 20
    assert commands[0] in ELSEWHERE
    for line in commands:
        if line not in ELSEWHERE:
            newcomer.types(line)
    (snippet,) = snippets()
    done = subprocess.run([sys.executable, "-c", snippet], cwd=home, capture_output=True, text=True)
    assert 0 == done.returncode, done.stderr
    assert "What does len() return?" in done.stdout
