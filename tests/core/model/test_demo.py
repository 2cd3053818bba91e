import hashlib
import json
import math
import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.intake.formats import read
from core.intake.template import Renderer
from core.intake.validate import examine
from core.model import docstrings
from core.model.demo import FILES, ROWS, drop, make_base
from core.model.docstrings import LONGEST, SHORTEST, entries, harvest
from core.settings import Settings


def test_the_demo_base_is_a_small_qwen3_that_loads(demo_base: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(demo_base, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(demo_base, local_files_only=True)
    rows = harvest(0, 40)
    with torch.no_grad():
        losses = []
        for row in rows:
            ids = torch.tensor([tokenizer(row["messages"][1]["content"])["input_ids"]])
            losses.append(float(model(input_ids=ids, labels=ids).loss))

    assert "Qwen3ForCausalLM" == type(model).__name__
    assert model.config.num_key_value_heads < model.config.num_attention_heads
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert len(tokenizer) <= model.config.vocab_size
    assert math.log(model.config.vocab_size) == pytest.approx(sum(losses) / len(losses), rel=0.1)


def test_the_same_seed_makes_the_same_bytes(demo_base: Path, tmp_path: Path) -> None:
    import torch

    torch.manual_seed(5)
    undisturbed = torch.rand(3)
    torch.manual_seed(5)
    again, other = make_base(tmp_path / "again", seed=0), make_base(tmp_path / "other", seed=1)

    assert undisturbed.tolist() == torch.rand(3).tolist()
    folders = (demo_base, again, other)
    contents = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders]
    assert contents[0] == contents[1]
    assert {"model.safetensors"} == {name for name in contents[0] if contents[0][name] != contents[2][name]}


def test_the_librarys_template_and_ours_write_the_same(demo_base: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(demo_base, local_files_only=True)
    renderer = Renderer(demo_base)
    for value in harvest(0, 50):
        theirs = tokenizer.apply_chat_template(value["messages"], tokenize=False)
        row = read(value, "messages")

        assert theirs == renderer.render(row)
        expected = tokenizer(theirs, add_special_tokens=False)["input_ids"]
        assert expected == renderer.encode([row])[0].ids.tolist()


@pytest.fixture
def small_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two packages of the standard library in the place of all."""
    for package in ("json", "logging"):
        shutil.copytree(Path(sysconfig.get_path("stdlib"), package), tmp_path / "library" / package)
    docstrings._library.cache_clear()
    monkeypatch.setattr(docstrings.sysconfig, "get_path", lambda name: str(tmp_path / "library"))
    yield
    docstrings._library.cache_clear()


def test_rows_go_on_and_stay_different_when_the_library_is_exhausted(small_library: None) -> None:
    count = len(entries(10**6))
    rows = [json.dumps(row) for row in harvest(0, 5 * count)]

    assert 50 < count
    assert len(rows) == len(set(rows))
    assert rows[count - 5:count + 5] == [json.dumps(row) for row in harvest(count - 5, 10)]


def test_a_python_without_sources_is_told_what_to_do(small_library: None, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "library")

    with pytest.raises(docstrings.SourcesMissing, match="init --base"):
        harvest(0, 1)


def test_descriptions_are_of_a_useful_length() -> None:
    lengths = [len(entry.text) for entry in entries(500)]

    assert SHORTEST <= min(lengths) <= max(lengths) <= LONGEST + len("\n\n")


def test_a_slice_is_dropped_whole_and_is_accepted(demo_base: Path, tmp_path: Path) -> None:
    written = [path for number in range(2) for path in drop(tmp_path / "inbox", number)]

    assert sorted(written) == sorted((tmp_path / "inbox").iterdir())
    assert 2 * FILES == len({hashlib.sha256(path.read_bytes()).hexdigest() for path in written})
    seen: list[Any] = []
    for path in written:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        report = examine(path, sha256=sha256, renderer=Renderer(demo_base), settings=Settings(max_length=256))
        seen.append((report.rows, report.is_accepted, report.accepted_rows > 0.98 * ROWS))
    assert [(ROWS, True, True)] * 2 * FILES == seen
