from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.intake.formats import read
from core.intake.template import Renderer
from core.intake.tokens import StoreDamaged, StoreWriter, TokenStore, store_key
from core.settings import Settings

TEXTS = ["One.", "Two and three.", "Quatre, cinq, six."]


def write(parent: Path, renderer: Renderer, texts: list[str]) -> TokenStore:
    rows = [read({"text": text}, "text") for text in texts]
    with StoreWriter(parent, "key") as writer:
        for line, (row, encoded) in enumerate(zip(rows, renderer.encode(rows), strict=True), 1):
            writer.append(encoded, row.sha256, line)
        return TokenStore.open(writer.finish({}))


def test_a_store_gives_back_what_was_written(tmp_path: Path, renderer: Renderer) -> None:
    store = write(tmp_path, renderer, TEXTS)
    rows = [read({"text": text}, "text") for text in TEXTS]

    encoded = renderer.encode(rows)
    assert np.concatenate([each.ids for each in encoded]).tolist() == store.ids.tolist()
    assert np.concatenate([each.labels for each in encoded]).tolist() == store.labels.tolist()
    assert [len(each.ids) for each in encoded] == store.lengths.tolist()
    assert [int(each.labels.sum()) for each in encoded] == store.trained.tolist()
    assert [row.sha256 for row in rows] == [hashed.tobytes() for hashed in store.hashes]
    assert [1, 2, 3] == store.line_numbers.tolist()
    assert not store.ids.flags.writeable


def test_nothing_remains_of_a_store_that_was_not_finished(tmp_path: Path, renderer: Renderer) -> None:
    with pytest.raises(KeyboardInterrupt), StoreWriter(tmp_path, "key"):
        raise KeyboardInterrupt

    assert [] == list(tmp_path.iterdir())


def test_a_new_store_takes_the_place_of_a_damaged_one(tmp_path: Path, renderer: Renderer) -> None:
    write(tmp_path, renderer, TEXTS)
    with (tmp_path / "key" / "labels.bin").open("ab") as file:
        file.write(b"\x00")

    with pytest.raises(StoreDamaged, match=r"labels\.bin"):
        TokenStore.open(tmp_path / "key")
    assert 1 == write(tmp_path, renderer, TEXTS[:1]).rows
    assert ["key"] == [path.name for path in tmp_path.iterdir()]


def test_the_key_changes_with_what_changes_the_tokens_only(renderer: Renderer) -> None:
    settings = Settings()
    key = store_key("a", renderer, settings)

    assert key == store_key("a", renderer, replace(settings, learning_rate=1e-3))
    others = [
        store_key("b", renderer, settings),
        *(store_key("a", renderer, replace(settings, **change)) for change in (
            {"max_length": 512}, {"too_long": "truncate"}, {"system_prompt": "Hi."}, {"max_bad_rows": 0.2},
        )),
    ]
    assert len({key, *others}) == 1 + len(others)
