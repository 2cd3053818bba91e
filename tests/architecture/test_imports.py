"""What may import what: the ladder holds, and nothing heavy is loaded where it is not needed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.names import OURS

ROOT = Path(__file__).parents[2]

#: Modules that run without torch: their processes live beside the trainer and must be small.
LIGHT_MODULES = [
    "core.jobs.__main__",
    "core.jobs.table",
    "web.__main__",
    "web.app",
    "core.safety.watchdog",
    "core.cli",
]

#: Commands that answer without torch, with arguments that lead far into them.
LIGHT_COMMANDS = [
    "--help", "status --json", "queue --json", "queue list", "queue remove nothing.jsonl", "versions --json",
    "versions show v0001", "versions verify v0001", "versions diff v0001 v0002", "versions restore v0001",
    "versions export v0001 nowhere", "events --json", "events show 1", "replay --to 2",
    "replay --to 0 --diff 2", "rebuild", "verify --deep", "pause", "resume", "skip", "stop",
    "backup list", "backup now", "backup verify", "backup prune",
    "check sample.jsonl", "add sample.jsonl", "serve --host 0.0.0.0",
]  # fmt: skip

LOOK = """
import json, sys
try:
    from core.cli import main
    sys.argv = ["evertrain", *json.loads(sys.argv[1])]
    main()
except SystemExit as end:
    code = end.code or 0
else:
    code = 0
print()
print(json.dumps([code, sorted({"torch", "transformers"} & sys.modules.keys())]))
"""


def python(code: str, *arguments: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments],
        capture_output=True, text=True, timeout=60, cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.mark.parametrize("module", LIGHT_MODULES)
def test_a_module_beside_the_trainer_loads_no_torch(module: str) -> None:
    code = f"import sys, {module}\nprint(sorted({{'torch', 'transformers'}} & sys.modules.keys()))"
    done = python(code)

    assert ("[]\n", 0) == (done.stdout, done.returncode), done.stderr


@pytest.mark.parametrize("command", LIGHT_COMMANDS)
def test_a_command_loads_no_torch(command: str, made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "workspace")
    (tmp_path / "sample.jsonl").write_text('{"text": "one row"}\n' * 10)
    where = [] if command == "--help" else ["--workspace", str(tmp_path / "workspace")]
    done = python(LOOK, json.dumps([*command.split(), *where]), cwd=tmp_path)
    code, heavy = json.loads(done.stdout.splitlines()[-1])

    assert [] == heavy
    assert code in (0, 1, 2, 3), done.stderr


def contracts(tree: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        capture_output=True, text=True, cwd=tree, timeout=120, env={**os.environ, "PYTHONPATH": str(tree)},
    )  # fmt: skip


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the code, to plant something in."""
    for name in OURS:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold(tree: Path) -> None:
    done = contracts(tree)

    assert 0 == done.returncode, done.stdout
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("projections/queue.py", "import time", "facts, folds and decisions are pure"),
        ("events/types.py", "import random", "facts, folds and decisions are pure"),
        ("core/decide/dispatch.py", "from pathlib import Path", "facts, folds and decisions are pure"),
        ("db/tables.py", "import events.types", "the ladder"),
        ("core/settings.py", "import core.files", "the layers inside core"),
        ("core/jobs/poll.py", "import torch", "torch and transformers stay in core.train and core.model"),
    ],
)
def test_a_planted_violation_is_refused(tree: Path, module: str, line: str, broken: str) -> None:
    path = tree / module
    text = path.read_text(encoding="utf-8")
    end_of_docstring = text.index('"""', 3) + 3
    path.write_text(f"{text[:end_of_docstring]}\n{line}\n{text[end_of_docstring:]}", encoding="utf-8")
    done = contracts(tree)

    assert 1 == done.returncode, done.stdout
    assert f"{broken} BROKEN" in done.stdout
