"""The reports: what a run and a file were, told from facts alone; what a restore would meet."""

from typing import Any

from events.types import (
    BackupStarted,
    BackupVerified,
    CheckpointSaved,
    RestoreRequested,
    TrainingCompleted,
    TrainingSkipped,
    ValidationMeasured,
    VersionDeleted,
    VersionPublished,
    VersionRetired,
)
from projections import keeping, reports
from projections.fold import State, fold
from tests.facts import recorded, sha, specimen
from tests.projections.story import Tale, rich


def facts_of(tale: Tale, run: str) -> reports.RunFacts:
    def chosen(*names: str) -> Any:
        return tuple(
            r for r in tale.recorded
            if type(r.event).__name__ in names and getattr(r.event, "run", None) == run
        )  # fmt: skip

    history = [cls.__name__ for cls in reports.HISTORY]
    return reports.RunFacts(
        chosen(*history), chosen("ValidationMeasured"), chosen("CheckpointSaved"), done=10
    )


def test_a_run_tells_how_each_of_its_tries_ended() -> None:
    tale = rich()
    report = reports.run_report(tale.state, tale.state.run.runs["r1"], facts_of(tale, "r1"))
    ends = [one["ended"] for one in report["tries"]]

    assert ["ProcessCrashed", "TrainingPaused", "TrainingCompleted"] == ends
    assert ("completed", "v0001", 10) == (report["state"], report["version"], report["step"])
    assert 1 == len(report["crashes"])
    assert ["deleted", "usable"] == [point["state"] for point in report["checkpoints"]]


def test_a_release_is_not_what_a_run_made() -> None:
    tale = Tale()
    tale.queues("a")
    tale.starts("a", "r1")
    tale.tell(specimen(VersionPublished, version="v0001", run="r1", kind="release"))

    assert {} == reports.versions_made(tale.state)


def test_a_folder_name_used_again_is_another_resume_point() -> None:
    tale = Tale()
    tale.queues("a")
    tale.starts("a", "r1")
    saved = specimen(CheckpointSaved, run="r1", path="models/current_model/checkpoint-4")
    tale.tell(saved, saved)
    report = reports.run_report(tale.state, tale.state.run.runs["r1"], facts_of(tale, "r1"))

    assert ["deleted", "usable"] == [point["state"] for point in report["checkpoints"]]


def test_the_best_step_names_its_measurement() -> None:
    tale = Tale()
    tale.queues("a")
    tale.starts("a", "r1", fixed_set=None)
    seqs = [
        tale.tell(specimen(ValidationMeasured, run="r1", attempt=1, kind="holdout", step=n, loss=loss))
        for n, loss in ((0, 3.0), (5, 1.0), (10, 2.0))
    ]
    report = reports.run_report(tale.state, tale.state.run.runs["r1"], facts_of(tale, "r1"))

    assert (5, 1.0, "holdout", seqs[1]) == tuple(
        report["best"][key] for key in ("step", "loss", "kind", "seq")
    )
    assert [0, 5, 10] == [row["step"] for row in report["validations"]]


def test_a_file_tells_what_was_found_and_made() -> None:
    state = rich().state
    report = reports.file_report(state, sha("c"))

    assert report is not None
    assert ("completed", ["r1"], ["v0001"]) == (
        report["state"], [run["id"] for run in report["runs"]], report["versions"],
    )  # fmt: skip
    assert (report["rows"], report["counts"]) == (report["check"]["rows"], report["check"]["counts"])
    assert reports.file_report(state, "nothing") is None


def two_versions() -> Tale:
    tale = Tale()
    tale.begins(backup={"target": "backups", "every_hours": 2})
    for name, version, run, parent, step in (
        ("a", "v0001", "r1", None, 5), ("b", "v0002", "r2", "v0001", 10)
    ):  # fmt: skip
        tale.queues(name)
        tale.starts(name, run, parent=parent)
        tale.ends(TrainingCompleted, name, run, step)
        tale.tell(specimen(VersionPublished, version=version, run=run, file=name, sha256=sha(name),
                           parent=parent, kind="run", global_step=step, request=None))  # fmt: skip
    return tale


def obstacles(state: State, name: str) -> list[str]:
    found: list[str] = keeping.restore_preview(state, state.versions.versions[name])["obstacles"]
    return found


def test_nothing_stands_in_the_way_of_a_plain_restore() -> None:
    state = two_versions().state

    assert [] == obstacles(state, "v0001")
    assert ["v0002 is what the model is already"] == obstacles(state, "v0002")


def test_a_version_the_model_has_moved_on_from_may_be_restored_though_it_is_current() -> None:
    tale = two_versions()
    tale.queues("c")
    tale.starts("c", "r3", at=10)
    tale.saves("r3", 5, at=10)
    tale.ends(TrainingSkipped, "c", "r3", 5, at=10)

    assert [] == obstacles(tale.state, "v0002")


def test_a_release_or_a_deleted_version_cannot_be_restored() -> None:
    tale = two_versions()
    tale.tell(specimen(VersionPublished, version="v0003", run="r2", kind="release", parent="v0002"))
    tale.tell(VersionRetired(version="v0001", reason="beyond versions_keep"), VersionDeleted(version="v0001"))
    (release,), (gone,) = obstacles(tale.state, "v0003"), obstacles(tale.state, "v0001")

    assert "restore the version it was made of: v0002" in release
    assert "only its facts are left" in gone


def test_what_stands_in_the_way_is_named_with_its_remedy() -> None:
    tale = two_versions()
    tale.queues("c")
    tale.starts("c", "r3")
    training = obstacles(tale.state, "v0001")
    tale.ends(TrainingCompleted, "c", "r3", 10)
    due = obstacles(tale.state, "v0001")
    tale.publishes("v0003", "c", "r3", "v0002")
    asked = tale.tell(RestoreRequested(version="v0001"))
    pending = obstacles(tale.state, "v0001")

    assert ["c is being trained"] == [text.split(":")[0] for text in training]
    assert ["the version of r3 is being made: ask again in a moment"] == due
    assert [f"a restore of v0001 is asked for already (#{asked})"] == pending


def test_the_next_backup_is_due_after_the_newest_one_that_ended() -> None:
    empty, tale = Tale(), two_versions()
    empty.begins()
    first = keeping.next_backup_due(tale.state)
    tale.tell(BackupStarted(backup="b0001", target="backups"), BackupVerified(backup="b0001", seconds=1.0))
    state = fold(recorded(tale.facts))

    assert keeping.next_backup_due(empty.state) is None
    assert state.versions.versions["v0001"].created_at == first
    assert state.at + 2 * 3600 * 1_000_000 == keeping.next_backup_due(state)
