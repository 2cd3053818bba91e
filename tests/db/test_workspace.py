"""The workspace: its layout, for its owner alone."""

from pathlib import Path

import pytest

from db.workspace import Workspace, find


def test_everything_is_laid_out_inside_for_the_owner_alone(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "deep" / "workspace")
    workspace.lay_out()
    workspace.lay_out()
    made = [path for path in workspace.root.rglob("*") if path.is_dir()]

    assert 0o700 == workspace.root.stat().st_mode & 0o777
    assert set(workspace.folders()) <= set(made)
    for name in ("inbox/high", "queue/low", "queue/processing", "queue/failed", "models/versions", "logs"):
        assert (workspace.root / name).is_dir()


def test_a_wide_open_workspace_is_closed(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    Workspace(tmp_path).lay_out()

    assert 0o700 == tmp_path.stat().st_mode & 0o777


def test_given_comes_before_the_environment_before_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVERTRAIN_WORKSPACE", raising=False)
    default = find(None).root
    monkeypatch.setenv("EVERTRAIN_WORKSPACE", str(tmp_path / "named"))
    named = find(None).root
    monkeypatch.setenv("EVERTRAIN_WORKSPACE", "")
    empty = find(None).root

    assert (tmp_path / "workspace").resolve() == default == empty
    assert (tmp_path / "named").resolve() == named
    assert (tmp_path / "given").resolve() == find(tmp_path / "given").root


def test_children_keep_their_caches_inside_and_stay_offline(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    environment = workspace.environment()
    places = {key: value for key, value in environment.items() if "/" in value}

    assert {"HF_HOME", "XDG_CACHE_HOME", "TMPDIR"} <= places.keys()
    assert all(Path(value).is_relative_to(tmp_path) for value in places.values())
    assert ("1", "1") == (environment["HF_HUB_OFFLINE"], environment["TRANSFORMERS_OFFLINE"])
