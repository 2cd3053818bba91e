"""What is installed, pinned and promised."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

from packaging.requirements import Requirement

from core.names import OURS, strangers

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCKS = ("requirements.lock", "tests/requirements.lock", "tests/bench/requirements.lock")


def pins(name: str) -> dict[str, str]:
    """name → version of every line that is no comment."""
    found = {}
    for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            found[normal(requirement.name)] = str(requirement.specifier)
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_the_locks_pin_every_version_exactly_for_any_machine() -> None:
    for name in LOCKS:
        assert pins(name)
        for specifier in pins(name).values():
            assert re.fullmatch(r"==[0-9][0-9a-z.]*", specifier)  # no local part, no range
        assert "--hash" not in (ROOT / name).read_text(encoding="utf-8")


def test_torch_is_the_one_that_is_small_here_and_whole_elsewhere() -> None:
    assert "==2.13.0" == pins("requirements.lock")["torch"]


def test_the_locks_cover_every_dependency_and_what_builds_it() -> None:
    run, dev, bench = (pins(name) for name in LOCKS)
    wanted = [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]
    extras = PROJECT["project"]["optional-dependencies"]

    assert {normal(Requirement(line).name) for line in wanted} <= run.keys()
    assert "hatchling" in run
    assert {normal(Requirement(line).name) for line in extras["dev"]} <= run.keys() | dev.keys()
    assert {normal(Requirement(line).name) for line in extras["bench"]} <= bench.keys()
    assert set() == run.keys() & dev.keys() == bench.keys() & (run.keys() | dev.keys())


def test_a_pin_is_what_the_project_allows() -> None:
    run = pins("requirements.lock")
    for line in [*PROJECT["project"]["dependencies"], *PROJECT["build-system"]["requires"]]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(run[normal(requirement.name)].removeprefix("=="))


def test_what_is_installed_is_what_is_pinned() -> None:
    for name, specifier in pins("requirements.lock").items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            assert name == "pysqlite3"  # not there on every machine
            continue
        assert specifier.removeprefix("==") == installed.split("+")[0]


def test_no_installed_distribution_claims_one_of_our_names() -> None:
    claimed = packages_distributions()

    for name in OURS:
        assert {"evertrain"} >= {normal(owner) for owner in claimed.get(name, [])}
    assert set(OURS) == set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])


def test_a_stranger_in_our_place_is_noticed(tmp_path: Path) -> None:
    assert [] == strangers(ROOT)
    assert set(OURS) == {name for name, _ in strangers(tmp_path)}


def test_every_one_of_our_packages_carries_the_mark() -> None:
    for name in OURS:
        assert "part of evertrain" in (ROOT / name / "__init__.py").read_text(encoding="utf-8")
