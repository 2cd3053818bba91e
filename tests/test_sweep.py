"""The sweep itself: it must see every step, also those of a whole tree's deletion."""

import shutil
from pathlib import Path

from tests.sweep import killed_at_every_step


def test_each_step_is_a_place_to_die(tmp_path: Path) -> None:
    def prepare(n: int) -> Path:
        root = tmp_path / str(n)
        (root / "tree").mkdir(parents=True)
        (root / "tree" / "one").touch()
        (root / "tree" / "two").touch()
        return root

    def work(root: Path) -> None:
        (root / "new").write_text("x")
        (root / "new").rename(root / "final")
        shutil.rmtree(root / "tree")

    seen = [
        sorted(str(path.relative_to(root)) for path in root.rglob("*"))
        for root in killed_at_every_step(prepare, work)
    ]

    assert 6 == len(seen)
    assert ["tree", "tree/one", "tree/two"] == seen[0]
    assert ["final", "tree"] == seen[4]
    assert ["final"] == seen[5]
