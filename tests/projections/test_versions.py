"""The versions: due from the end of a run until published; numbers are never used twice."""

from events.types import TrainingCompleted
from tests.projections.story import Tale


def test_a_completed_run_is_due_until_its_version_is_published() -> None:
    tale = Tale()
    tale.begins()
    tale.queues("a")
    tale.starts("a", "r1")
    tale.ends(TrainingCompleted, "a", "r1", 10)
    due = tale.state.versions
    tale.publishes("v0001", "a", "r1")
    published = tale.state.versions

    assert ["r1"] == [each.event.run for each in due.due]
    assert (None, "v0001") == (due.current, due.next_id)
    assert () == published.due
    assert ("v0001", "v0002", ("v0001",)) == (published.current, published.next_id, published.order)


def test_each_version_keeps_what_made_it() -> None:
    tale = Tale()
    tale.begins()
    for n, name in enumerate("ab", start=1):
        tale.queues(name)
        tale.starts(name, f"r{n}")
        tale.ends(TrainingCompleted, name, f"r{n}", 10)
        tale.publishes(f"v000{n}", name, f"r{n}", parent="v0001" if n == 2 else None)

    versions = tale.state.versions

    assert [("r1", "a", None), ("r2", "b", "v0001")] == [
        (v.run, v.file, v.parent) for v in (versions.versions[name] for name in versions.order)
    ]
