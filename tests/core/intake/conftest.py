"""Bases of the demo's own for every test of the intake: made once, read only."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer

from core.intake.report import Report
from core.intake.template import Renderer
from core.intake.validate import examine
from core.model.demo import write_tokenizer
from core.settings import Settings
from tests.core.intake.foreign import CONFIG, CONTROLS

Check = Callable[..., Report]
Lay = Callable[[str], Path]


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo's tokenizer and template; the model itself is not needed here."""
    folder = tmp_path_factory.mktemp("base")
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def renderer(base: Path) -> Renderer:
    return Renderer(base)


@pytest.fixture(scope="session")
def foreign_base(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Lay:
    """The folder of a base with this template, and control tokens that are not those of ChatML."""
    tokenizer = Tokenizer.from_file(str(base / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in CONTROLS])

    @cache
    def lay(template: str) -> Path:
        folder = tmp_path_factory.mktemp("foreign")
        tokenizer.save(str(folder / "tokenizer.json"))
        (folder / "tokenizer_config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
        return folder

    return lay


@pytest.fixture(scope="session")
def make(foreign_base: Lay) -> Callable[[str], Renderer]:
    """The renderer of such a base."""
    return cache(lambda template: Renderer(foreign_base(template)))


@pytest.fixture
def check(renderer: Renderer, tmp_path: Path) -> Check:
    """Examine rows (objects, or bytes for lines as they stand) as a file, under changed settings."""

    def run(rows: list[Any], name: str = "rows.jsonl", store: Path | None = None, **changed: Any) -> Report:
        lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
        path = tmp_path / name
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        settings = replace(Settings(), **changed)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        return examine(path, sha256=sha256, renderer=renderer, settings=settings, store=store)

    return run
