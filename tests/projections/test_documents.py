"""The documents that compare versions: where they stand in the tree, and what lies between them."""

from events.types import TrainingCompleted, VersionPublished
from projections import documents
from tests.facts import sha, specimen
from tests.projections.story import Tale


def trained(
    tale: Tale, version: str, name: str, parent: str | None, loss: float | None, **config: int
) -> None:
    """A file, its run under these settings, its version."""
    run = f"run of {name}"
    tale.queues(name)
    tale.starts(name, run, config={"max_attempts": 3, "epochs": 1} | config, rows=len(name), parent=parent)
    tale.ends(TrainingCompleted, name, run, 10)
    tale.tell(
        specimen(
            VersionPublished, version=version, run=run, file=name, sha256=sha(name), parent=parent, loss=loss,
            validation_loss=None, kind="run", request=None,
        )
    )  # fmt: skip


def tree() -> Tale:
    """v1 ─ v2 ─ v3, and v4 on v1."""
    tale = Tale()
    tale.begins()
    trained(tale, "v0001", "a", None, 4.0)
    trained(tale, "v0002", "bb", "v0001", 3.0)
    trained(tale, "v0003", "ccc", "v0002", 2.5)
    trained(tale, "v0004", "dddd", "v0001", None, epochs=2)
    return tale


def test_a_version_knows_what_it_descends_from_and_what_descends_from_it() -> None:
    state = tree().state
    found = {
        name: {
            key: value
            for key, value in documents.version_tree(state, state.versions.versions[name]).items()
            if key != "made_of"
        }
        for name in state.versions.order
    }

    assert {"ancestors": [], "children": ["v0002", "v0004"]} == found["v0001"]
    assert {"ancestors": ["v0002", "v0001"], "children": []} == found["v0003"]


def test_a_difference_names_the_files_of_both_sides_and_the_settings_and_losses_that_changed() -> None:
    state = tree().state
    versions = state.versions.versions
    found = documents.versions_diff(state, versions["v0003"], versions["v0004"])

    assert ("v0003", "v0004", "v0001") == (found["a"]["id"], found["b"]["id"], found["common"])
    assert {"epochs": [1, 2]} == found["config"]
    assert [("a", "bb", 2), ("a", "ccc", 3), ("b", "dddd", 4)] == [
        (row["side"], row["file"], row["rows"]) for row in found["data"]
    ]
    assert {"a": 2.5, "b": None, "change": None} == found["metrics"]["loss"]


def test_between_a_version_and_one_it_descends_from_lie_the_files_trained_since() -> None:
    state = tree().state
    versions = state.versions.versions
    found = documents.versions_diff(state, versions["v0001"], versions["v0003"])

    assert [("b", "v0002"), ("b", "v0003")] == [(row["side"], row["version"]) for row in found["data"]]
    assert {"a": 4.0, "b": 2.5, "change": -1.5} == found["metrics"]["loss"]
    assert {} == found["config"]
