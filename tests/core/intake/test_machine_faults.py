"""What memory or a disk refuses is the machine's trouble, never told as a row's, a template's or a base's."""

import errno
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, Template

from core.intake import chatml
from core.intake.template import Renderer
from core.intake.tokens import TokenStore
from core.intake.validate import examine
from core.settings import Settings
from tests.core.intake.foreign import HEADERS

FAULTS = (MemoryError(), OSError(errno.EIO, "Input/output error"))
MOST = 100                      # templates written until a base is known; far more than there are
CALL = {**chatml.CALL, "tool_calls": chatml.CALL["tool_calls"][:1]}
ROW = {"tools": [chatml.TOOL], "messages": [chatml.QUESTION, CALL, chatml.RESULT, chatml.ANSWER]}


@pytest.fixture(params=["chatml", "foreign"])
def folder(request: pytest.FixtureRequest, base: Path, foreign_base: Callable[[str], Path]) -> Path:
    """A base of either kind, with tools."""
    return base if request.param == "chatml" else foreign_base(HEADERS)


class Trouble:
    """Jinja's own writing of a template raises `fault`, the time it is written after `left` others."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left, self.fault = MOST, FAULTS[0]
        write = Template.generate

        def generate(template: Template, *given: Any, **names: Any) -> Iterator[str]:
            self.left -= 1
            if self.left == -1:
                raise self.fault
            yield from write(template, *given, **names)

        monkeypatch.setattr(Template, "generate", generate)


@pytest.mark.parametrize("fault", FAULTS, ids=type)
def test_no_base_is_judged_while_the_machine_is_in_trouble(
    folder: Path, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble = Trouble(monkeypatch)
    renderer = Renderer(folder)
    written = MOST - trouble.left

    assert (None, None) == (renderer.chat_problem, renderer.tools_problem)
    assert 0 < written < MOST
    for trouble.left in range(written):
        trouble.fault = fault
        with pytest.raises(type(fault)):
            Renderer(folder)


@pytest.mark.parametrize("fault", FAULTS, ids=type)
def test_no_row_is_left_out_while_the_machine_is_in_trouble(
    folder: Path, fault: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, stores, renderer = tmp_path / "a.jsonl", tmp_path / "tokens", Renderer(folder)
    path.write_text(json.dumps(ROW) + "\n", encoding="utf-8")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    trouble = Trouble(monkeypatch)
    trouble.left, trouble.fault = 0, fault
    with pytest.raises(type(fault)):
        examine(path, sha256=sha256, renderer=renderer, settings=Settings(), store=stores)

    assert [] == list(stores.iterdir())
    report = examine(path, sha256=sha256, renderer=renderer, settings=Settings(), store=stores)
    assert ("accepted", 1) == (report.verdict, TokenStore.open(stores / str(report.store)).rows)


@pytest.mark.parametrize("fault", FAULTS, ids=type)
def test_no_template_is_called_wrong_while_the_machine_is_in_trouble(
    folder: Path, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def compile_no_more(*_: Any) -> None:
        raise fault

    monkeypatch.setattr(Environment, "from_string", compile_no_more)
    with pytest.raises(type(fault)):
        Renderer(folder)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
def test_a_file_that_the_disk_does_not_give_is_named_and_not_called_wrong(
    base: Path, name: str, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(base, tmp_path / "base"))
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to("/proc/self/mem")        # opens, and fails where it is read
    with pytest.raises(OSError) as caught:
        Renderer(folder)

    assert (errno.EIO, str(folder / name)) == (caught.value.errno, caught.value.filename)
