"""A base model's files as they may come: what cannot be understood is said with its place and a remedy."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from core.intake.base import BaseUnusable
from core.intake.template import Renderer


@pytest.fixture
def folder(base: Path, tmp_path: Path) -> Path:
    """A base that may be changed, whose template stands in tokenizer_config.json alone."""
    folder = Path(shutil.copytree(base, tmp_path / "base"))
    source = folder / "chat_template.jinja"
    configure(folder, chat_template=source.read_text(encoding="utf-8"))
    source.unlink()
    return folder


def configure(folder: Path, **changes: Any) -> None:
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, **changes}), encoding="utf-8")


def named_template(folder: Path) -> str:
    return str(json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))["chat_template"])


def test_a_template_in_another_encoding_is_refused_with_a_remedy(folder: Path) -> None:
    (folder / "chat_template.jinja").write_bytes(named_template(folder).encode("utf-16"))
    with pytest.raises(BaseUnusable, match=r"chat_template\.jinja is not UTF-8 .*: copy the base model"):
        Renderer(folder)


def test_half_a_character_in_a_template_is_refused_with_a_remedy(folder: Path) -> None:
    configure(folder, chat_template=named_template(folder) + "\ud800")
    with pytest.raises(BaseUnusable, match=r"tokenizer_config\.json .*ud800.*: copy the base model again"):
        Renderer(folder)


def test_a_configuration_of_brackets_is_refused_with_a_remedy(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(BaseUnusable, match=r"tokenizer_config\.json is not JSON .*: copy the base model"):
        Renderer(folder)


@pytest.mark.parametrize("others", [["x"], [None, 3], [{"name": "rag", "template": "{{ messages }}"}], [{}]])
def test_the_template_named_default_is_found_among_others(
    base: Path, folder: Path, others: list[Any]
) -> None:
    default = {"name": "default", "template": named_template(folder)}
    configure(folder, chat_template=[*others, default])
    expected = Renderer(base)

    assert expected.template_sha256 == Renderer(folder).template_sha256
    configure(folder, chat_template=others)
    assert any("has no chat template" in note for note in Renderer(folder).notes)
